internal import CLinux
internal import Glibc

/// The value of an environment variable of this process, nil if it is not set (getenv(3)).
public func environmentVariable(_ name: String) -> String? {
    // SAFETY: the result is NUL-terminated and copied at once; nothing in this package changes the environment.
    guard let value = unsafe getenv(name) else { return nil }
    return unsafe String(cString: value)
}

/// Which file a descriptor refers to (fstat(2)).
public struct FileIdentity: Hashable, Sendable {
    /// The device number, as in st_dev.
    public let device: UInt64
    /// The inode number.
    public let inode: UInt64

    /// Creates an identity.
    public init(device: UInt64, inode: UInt64) {
        (self.device, self.inode) = (device, inode)
    }

    /// The file that `descriptor` refers to. Throws EBADF if it is not open.
    public init(of descriptor: CInt) throws(KernelError) {
        var status = stat()
        // SAFETY: the kernel fills `status`, alive for the call.
        _ = try checked("fstat") { unsafe fstat(descriptor, &status) }
        self.init(device: UInt64(status.st_dev), inode: UInt64(status.st_ino))
    }
}

/// Writes to standard error, as much as it takes (write(2)).
public func writeToStandardError(_ text: String) {
    let bytes = Array(text.utf8)
    // SAFETY: the kernel reads the array's own bytes, alive for the call. There is no place to report a failure to.
    _ = unsafe bytes.withUnsafeBytes { unsafe write(STDERR_FILENO, $0.baseAddress, $0.count) }
}

/// Writes out what was printed to standard output and is still kept back because no terminal is there (fflush(3)).
public func flushStandardOutput() {
    _ = fflush(nil)
}

/// Makes standard output and standard error lead to /dev/null.
public func discardOutput() throws(KernelError) {
    let null = try openFile("/dev/null", .writeOnly)
    let raw = null.rawValue
    for output in [STDOUT_FILENO, STDERR_FILENO] {
        _ = try checked("dup2", on: "/dev/null") { dup2(raw, output) }
    }
}
