internal import CLinux
internal import Glibc
internal import SystemPackage

/// A Unix datagram socket that sends to one address and receives nothing.
public final class UnixDatagram: Sendable {
    private let descriptor: OwnedDescriptor

    /// Connects to the socket at `path`; a leading `@` names an abstract address (unix(7)). Throws ENAMETOOLONG for a
    /// path of more than 107 bytes, ECONNREFUSED or ENOENT where nobody listens.
    public init(connectingTo path: String) throws(KernelError) {
        let type = CInt(SOCK_DGRAM.rawValue) | CLINUX_SOCK_CLOEXEC
        let socket = OwnedDescriptor(adopting: try checked("socket(AF_UNIX)") { Glibc.socket(AF_UNIX, type, 0) })
        let raw = socket.rawValue
        var address = try UnixSocket.address(of: path)
        var length = MemoryLayout<sockaddr_un>.size
        if path.utf8.first == UInt8(ascii: "@") {
            // An abstract name is as long as the length says; NULs behind it would be part of it.
            address.sun_path.0 = 0
            length = MemoryLayout<sa_family_t>.size + path.utf8.count
        }
        _ = try checked("connect", on: path) {
            // SAFETY: sockaddr_un is a sockaddr; the kernel reads `length` bytes of it, alive for the call.
            unsafe withUnsafePointer(to: &address) { pointer in
                unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    unsafe connect(raw, $0, socklen_t(length))
                }
            }
        }
        descriptor = socket
    }

    /// Sends one datagram. Throws EMSGSIZE if it is too long for the socket, and EAGAIN if the receiver is behind, which
    /// with `waiting` is waited out instead.
    public func send(_ bytes: [UInt8], waiting: Bool = false) throws(KernelError) {
        let raw = descriptor.rawValue
        let flags = waiting ? 0 : CLINUX_MSG_DONTWAIT
        _ = try checked("sendmsg") {
            // SAFETY: the array is alive for the call and sent with its own count; no descriptors go along.
            unsafe bytes.withUnsafeBytes { data in unsafe clinux_send(raw, data.baseAddress, data.count, nil, 0, flags)
            }
        }
    }
}
