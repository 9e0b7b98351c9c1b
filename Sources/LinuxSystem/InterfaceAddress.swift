internal import CLinux
internal import Glibc
internal import SystemPackage

/// An address of a network interface.
public struct InterfaceAddress: Hashable, Sendable {
    /// The interface's name.
    public let interface: String
    /// The numeric address, IPv4 or IPv6.
    public let address: String

    /// Creates an address.
    public init(interface: String, address: String) {
        (self.interface, self.address) = (interface, address)
    }

    /// The IPv4 and IPv6 addresses of all interfaces of our network namespace (getifaddrs(3)).
    public static func all() throws(KernelError) -> [InterfaceAddress] {
        var list: UnsafeMutablePointer<ifaddrs>?
        // SAFETY: libc makes the list, which lives until freeifaddrs; names in it are terminated.
        _ = try checked("getifaddrs") { unsafe getifaddrs(&list) }
        defer { unsafe freeifaddrs(list) }
        var found: [InterfaceAddress] = []
        var next = unsafe list
        while let entry = unsafe next {
            unsafe next = entry.pointee.ifa_next
            guard let address = unsafe entry.pointee.ifa_addr else { continue }
            let size: Int
            switch unsafe CInt(address.pointee.sa_family) {
            case AF_INET: size = MemoryLayout<sockaddr_in>.size
            case AF_INET6: size = MemoryLayout<sockaddr_in6>.size
            default: continue
            }
            var text = [CChar](repeating: 0, count: Int(NI_MAXHOST))
            let result = unsafe getnameinfo(
                address, socklen_t(size), &text, socklen_t(text.count), nil, 0, NI_NUMERICHOST)
            guard result == 0 else { continue }
            found.append(
                InterfaceAddress(
                    interface: unsafe String(cString: entry.pointee.ifa_name),
                    address: String(decoding: text.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)))
        }
        return found
    }
}
