internal import CLinux
internal import Glibc
public import LinuxSystem
internal import SystemPackage

/// This process.
public var ownProcessID: Int32 { getpid() }

/// Sends a message to a uevent socket from another one, as any process may try. Throws EPERM without CAP_NET_ADMIN.
public func sendToUeventSocket(_ bytes: [UInt8], descriptor: CInt) throws(KernelError) {
    var address = sockaddr_nl()
    var length = socklen_t(MemoryLayout<sockaddr_nl>.size)
    // SAFETY: sockaddr_nl is a sockaddr, of the given size, alive for the call.
    let isNamed = unsafe withUnsafeMutablePointer(to: &address) { pointer in
        unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            unsafe getsockname(descriptor, $0, &length) == 0
        }
    }
    guard isNamed else { throw KernelError("getsockname", Errno(rawValue: errno)) }
    // To this one socket, not to all who listen.
    address.nl_groups = 0
    let type = CInt(SOCK_DGRAM.rawValue) | CLINUX_SOCK_CLOEXEC
    let other = OwnedDescriptor(adopting: socket(AF_NETLINK, type, NETLINK_KOBJECT_UEVENT))
    let raw = other.rawValue
    // SAFETY: as above; the bytes go with their own count.
    let sent = unsafe withUnsafePointer(to: &address) { pointer in
        unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
            unsafe bytes.withUnsafeBytes { unsafe sendto(raw, $0.baseAddress, $0.count, 0, address, length) }
        }
    }
    guard sent == bytes.count else { throw KernelError("sendto(AF_NETLINK)", Errno(rawValue: errno)) }
}
