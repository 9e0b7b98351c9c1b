internal import CLinux
internal import Glibc
internal import SystemPackage

/// A file that the kernel says is memory: a regular file of tmpfs, a memfd among them, or of hugetlbfs. Nothing but the
/// kernel answers for its pages, so none of our threads waits for anybody at it.
public final class MemoryFile: Sendable {
    /// Which file it is.
    public let identity: FileIdentity
    private let descriptor: OwnedDescriptor

    /// Takes a second descriptor of what somebody else sent. Throws EINVAL if it is not memory.
    ///
    /// fstatfs(2) would tell too, but a file of FUSE has its server asked; the kernel keeps seals for memory alone, so
    /// asking for them comes first.
    init(duplicating raw: CInt) throws(KernelError) {
        guard clinux_is_memory(raw) == 0 else {
            throw KernelError("fcntl(F_GET_SEALS)", on: "received descriptor is no memory", .invalidArgument)
        }
        var status = stat()
        // SAFETY: the kernel fills `status`, alive for the call.
        _ = try checked("fstat") { unsafe fstat(raw, &status) }
        guard status.st_mode & S_IFMT == S_IFREG else {
            throw KernelError("fstat", on: "received descriptor is no regular file", .invalidArgument)
        }
        identity = FileIdentity(device: UInt64(status.st_dev), inode: UInt64(status.st_ino))
        descriptor = try duplicateDescriptor(raw)
    }

    /// How long it is now; its owner may change that at any time.
    public func size() throws(KernelError) -> UInt64 {
        var status = stat()
        let raw = descriptor.rawValue
        // SAFETY: the kernel fills `status`, alive for the call.
        _ = try checked("fstat") { unsafe fstat(raw, &status) }
        return UInt64(clamping: status.st_size)
    }

    /// Maps a part of it, for the kernel to find by its address: its owner may shrink it at any time.
    public func map(at offset: UInt64, length: Int, writable: Bool) throws(KernelError) -> MappedMemory {
        try MappedMemory(mapping: descriptor.rawValue, at: offset, length: length, writable: writable)
    }
}
