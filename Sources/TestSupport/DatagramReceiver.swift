internal import CLinux
internal import Glibc
public import LinuxSystem
internal import SystemPackage

/// The other end of a Unix datagram socket: what a service manager or a journal would receive.
public final class DatagramReceiver: Sendable {
    private let descriptor: SharedDescriptor

    /// Binds `path`; a leading `@` names an abstract address.
    public init(path: String) throws(KernelError) {
        let raw = Glibc.socket(AF_UNIX, CInt(SOCK_DGRAM.rawValue), 0)
        guard raw >= 0 else { throw KernelError("socket", Errno(rawValue: errno)) }
        descriptor = SharedDescriptor(OwnedDescriptor(adopting: raw))
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        // SAFETY: a path that is longer than the field is cut.
        unsafe withUnsafeMutableBytes(of: &address.sun_path) { field in
            unsafe field.copyBytes(from: path.utf8.prefix(field.count))
        }
        var length = MemoryLayout<sockaddr_un>.size
        if path.hasPrefix("@") {
            address.sun_path.0 = 0
            length = MemoryLayout<sa_family_t>.size + path.utf8.count
        }
        // SAFETY: sockaddr_un is a sockaddr; the kernel reads `length` bytes of it, alive for the call.
        let result = unsafe withUnsafePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe bind(raw, $0, socklen_t(length))
            }
        }
        guard result == 0 else { throw KernelError("bind", on: path, Errno(rawValue: errno)) }
    }

    /// The next datagram as text. Waits for it.
    public func next() throws(KernelError) -> String {
        let socket = UnixSocket(adopting: try descriptor.duplicate())
        return String(decoding: try socket.receive(limit: 1 << 18).bytes, as: UTF8.self)
    }
}
