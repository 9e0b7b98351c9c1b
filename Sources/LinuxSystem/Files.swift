internal import CLinux
internal import Glibc
internal import SystemPackage

/// How a file is opened.
public struct OpenMode: OptionSet, Sendable {
    /// The flags of open(2), without close-on-exec, which is always set.
    public let rawValue: CInt
    /// Creates a mode from flags of open(2).
    public init(rawValue: CInt) { self.rawValue = rawValue }
    /// O_RDONLY.
    public static let readOnly = OpenMode(rawValue: O_RDONLY)
    /// O_WRONLY.
    public static let writeOnly = OpenMode(rawValue: O_WRONLY)
    /// O_RDWR.
    public static let readWrite = OpenMode(rawValue: O_RDWR)
    /// O_CREAT.
    public static let create = OpenMode(rawValue: O_CREAT)
    /// O_EXCL.
    public static let exclusive = OpenMode(rawValue: O_EXCL)
    /// O_TRUNC.
    public static let truncate = OpenMode(rawValue: O_TRUNC)
    /// O_DIRECTORY.
    public static let directory = OpenMode(rawValue: O_DIRECTORY)
    /// O_NOFOLLOW.
    public static let noFollow = OpenMode(rawValue: O_NOFOLLOW)
}

/// Opens `path`, close-on-exec (open(2)). A created file gets `permissions` less the umask.
public func openFile(
    _ path: String, _ mode: OpenMode, permissions: UInt32 = 0o600
) throws(KernelError) -> OwnedDescriptor {
    let flags = mode.rawValue | O_CLOEXEC
    return OwnedDescriptor(
        adopting: try checked("open", on: path) { unsafe open(path, flags, mode_t(permissions)) })
}

/// Reads a whole file of at most `limit` bytes; a longer one is an error (EFBIG), never a silent cut.
public func readFile(_ path: String, limit: Int = 1 << 20) throws(KernelError) -> [UInt8] {
    let file = try openFile(path, .readOnly)
    var contents: [UInt8] = []
    while true {
        let part = try readPart(of: file, path)
        if part.isEmpty { return contents }
        contents += part
        if contents.count > limit { throw KernelError("read", on: path, Errno(rawValue: EFBIG)) }
    }
}

/// The next bytes of a file, at most a page; none at its end.
private func readPart(of file: borrowing OwnedDescriptor, _ path: String) throws(KernelError) -> [UInt8] {
    let raw = file.rawValue
    var result: Result<Int, KernelError> = .success(0)
    // SAFETY: the kernel fills as many bytes as it says, from the start, and at most the buffer's size.
    let bytes = unsafe [UInt8](unsafeUninitializedCapacity: 4096) { buffer, count in
        do throws(KernelError) {
            count = try checked("read", on: path) { unsafe read(raw, buffer.baseAddress, buffer.count) }
        } catch {
            result = .failure(error)
        }
    }
    _ = try result.get()
    return bytes
}

/// Reads a small text file and cuts trailing white space, as sysfs attributes end with a newline.
public func readText(_ path: String, limit: Int = 1 << 20) throws(KernelError) -> String {
    textWithoutEnd(try readFile(path, limit: limit))
}

/// Bytes as text, without white space and NULs at the end.
func textWithoutEnd(_ bytes: [UInt8]) -> String {
    var bytes = bytes[...]
    while let last = bytes.last, last == 0x0a || last == 0x20 || last == 0 { bytes.removeLast() }
    return String(decoding: bytes, as: UTF8.self)
}

/// Writes all bytes in one write(2), as sysfs attributes need it. A short write is an error (EIO).
public func writeOnce(_ bytes: [UInt8], to file: borrowing OwnedDescriptor, path: String) throws(KernelError) {
    let raw = file.rawValue
    let count = try checked("write", on: path) {
        // SAFETY: the kernel reads the array's own bytes, alive for the call.
        unsafe bytes.withUnsafeBytes { unsafe write(raw, $0.baseAddress, $0.count) }
    }
    if count != bytes.count { throw KernelError("write", on: path, .ioError) }
}

/// Replaces `path` by a file with `bytes` so that a crash at any point leaves the old or the new content: written
/// beside it, synced, renamed, and the directory synced.
public func replaceFile(
    _ path: String, with bytes: [UInt8], permissions: UInt32 = 0o600
) throws(KernelError) {
    let temporary = path + ".new"
    do {
        let file = try openFile(temporary, [.writeOnly, .create, .truncate, .noFollow], permissions: permissions)
        if !bytes.isEmpty { try writeOnce(bytes, to: file, path: temporary) }
        let raw = file.rawValue
        _ = try checked("fsync", on: temporary) { fsync(raw) }
    }
    _ = try checked("rename", on: path) { unsafe rename(temporary, path) }
    try syncDirectory(of: path)
}

/// Removes `path` and syncs its directory. A path that does not exist is no error.
public func removeFile(_ path: String) throws(KernelError) {
    do {
        _ = try checked("unlink", on: path) { unsafe unlink(path) }
    } catch {
        if error.errno == .noSuchFileOrDirectory { return }
        throw error
    }
    try syncDirectory(of: path)
}

private func syncDirectory(of path: String) throws(KernelError) {
    let parent = path.lastIndex(of: "/").map { String(path[..<$0]) } ?? "."
    let directory = try openFile(parent.isEmpty ? "/" : parent, [.readOnly, .directory])
    let raw = directory.rawValue
    _ = try checked("fsync", on: parent) { fsync(raw) }
}

/// The target text of a symbolic link (readlink(2)).
public func readSymbolicLink(_ path: String) throws(KernelError) -> String {
    var buffer = [CChar](repeating: 0, count: Int(PATH_MAX))
    // SAFETY: the kernel writes at most the buffer's size and no terminating NUL.
    let count = try checked("readlink", on: path) { unsafe readlink(path, &buffer, buffer.count) }
    return String(decoding: buffer[..<count].map(UInt8.init(bitPattern:)), as: UTF8.self)
}

/// The names in a directory, without `.` and `..`, sorted.
public func listDirectory(_ path: String) throws(KernelError) -> [String] {
    // SAFETY: opendir returns NULL or a stream that is closed below; each entry is read before the next call.
    guard let stream = unsafe opendir(path) else { throw KernelError("opendir", on: path, .current) }
    defer { _ = unsafe closedir(stream) }
    var names: [String] = []
    while let entry = unsafe readdir(stream) {
        let name = unsafe withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
            unsafe String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
        }
        if name != "." && name != ".." { names.append(name) }
    }
    return names.sorted()
}

/// Whether something exists at `path`; a dangling link counts.
public func pathExists(_ path: String) -> Bool {
    fileType(path) != nil
}

/// What stands at `path` itself, S_IFSOCK for one (inode(7)); nil for nothing that can be seen.
func fileType(_ path: String) -> mode_t? {
    var status = stat()
    // SAFETY: the kernel fills `status`, alive for the call.
    guard unsafe lstat(path, &status) == 0 else { return nil }
    return status.st_mode & S_IFMT
}

/// Creates a directory; one that exists is no error.
public func makeDirectory(_ path: String, permissions: UInt32 = 0o700) throws(KernelError) {
    do {
        _ = try checked("mkdir", on: path) { unsafe mkdir(path, mode_t(permissions)) }
    } catch {
        if error.errno != .fileExists { throw error }
    }
}

/// Sets the permissions of a file that is ours, whatever the umask (chmod(2)).
public func setPermissions(_ path: String, _ permissions: UInt32) throws(KernelError) {
    _ = try checked("chmod", on: path) { unsafe chmod(path, mode_t(permissions)) }
}

/// Renames a file within its file system (rename(2)), and syncs the directory it goes to.
public func renameFile(_ path: String, to newPath: String) throws(KernelError) {
    _ = try checked("rename", on: path) { unsafe rename(path, newPath) }
    try syncDirectory(of: newPath)
}
