internal import CLinux
internal import Glibc
internal import LinuxSystem
internal import SystemPackage

extension EventFD {
    /// The eventfd that a descriptor in a structure leads to, as the kernel takes a reference to one (eventfd_ctx_fdget):
    /// EBADF if it is closed, EINVAL if it is something else. Closing that descriptor later changes nothing.
    static func behind(_ descriptor: CInt) throws(KernelError) -> EventFD {
        let duplicate = clinux_fcntl_int(descriptor, F_DUPFD_CLOEXEC, 0)
        guard duplicate >= 0 else { throw KernelError("fget", Errno(rawValue: errno)) }
        return try EventFD(adopting: OwnedDescriptor(adopting: duplicate))
    }
}
