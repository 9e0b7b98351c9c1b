/// The seam to files that are only read, such as sysfs'.
///
/// It exists twice: ``LiveFiles``, and a fake in TestSupport that counts, or lets a file keep its reader waiting. Paths
/// are absolute.
public protocol FileReading: Sendable {
    /// A whole file of at most `limit` bytes; a longer one is EFBIG.
    func readFile(_ path: String, limit: Int) throws(KernelError) -> [UInt8]

    /// The target text of a symbolic link (readlink(2)).
    func readSymbolicLink(_ path: String) throws(KernelError) -> String

    /// The names in a directory, without `.` and `..`, sorted.
    func listDirectory(_ path: String) throws(KernelError) -> [String]

    /// Whether something exists at `path`; a dangling link counts.
    func pathExists(_ path: String) -> Bool
}

extension FileReading {
    /// A small text file without the white space at its end, as sysfs attributes end with a newline.
    public func readText(_ path: String, limit: Int = 4096) throws(KernelError) -> String {
        textWithoutEnd(try readFile(path, limit: limit))
    }
}

/// The files of the host this process runs on.
public struct LiveFiles: FileReading {
    /// Creates the seam to the host's files.
    public init() {}

    /// open(2) and read(2).
    public func readFile(_ path: String, limit: Int) throws(KernelError) -> [UInt8] {
        try LinuxSystem.readFile(path, limit: limit)
    }

    /// readlink(2).
    public func readSymbolicLink(_ path: String) throws(KernelError) -> String {
        try LinuxSystem.readSymbolicLink(path)
    }

    /// opendir(3).
    public func listDirectory(_ path: String) throws(KernelError) -> [String] {
        try LinuxSystem.listDirectory(path)
    }

    /// lstat(2).
    public func pathExists(_ path: String) -> Bool { LinuxSystem.pathExists(path) }
}
