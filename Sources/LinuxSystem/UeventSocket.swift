internal import CLinux
internal import Glibc
internal import SystemPackage

/// A netlink socket that the kernel sends all its uevents to (NETLINK_KOBJECT_UEVENT, netlink(7)).
public final class UeventSocket: UeventSource {
    /// The multicast group that the kernel sends to; udev speaks in group 2.
    static let kernelGroup: UInt32 = 1
    /// Longer than what the kernel can say in one message (UEVENT_BUFFER_SIZE, include/linux/kobject.h, and a header).
    private static let limit = 8192
    /// Room for a thousand messages, where the host allows it (net.core.rmem_max); with less, more is lost and reread.
    private static let receiveBuffer: CInt = 1 << 21

    private let socket: OwnedDescriptor

    /// Opens the socket; events from now on are kept for ``receive()``. Needs no right. Throws EMFILE, EAFNOSUPPORT.
    public init() throws(KernelError) {
        let type = CInt(SOCK_DGRAM.rawValue) | CLINUX_SOCK_CLOEXEC
        socket = OwnedDescriptor(
            adopting: try checked("socket(AF_NETLINK)") { Glibc.socket(AF_NETLINK, type, NETLINK_KOBJECT_UEVENT) })
        try set(SO_PASSCRED, 1)
        try set(SO_RCVBUF, UeventSocket.receiveBuffer)
        var address = sockaddr_nl()
        address.nl_family = sa_family_t(AF_NETLINK)
        address.nl_groups = UeventSocket.kernelGroup
        let raw = socket.rawValue
        _ = try checked("bind(AF_NETLINK)") {
            // SAFETY: sockaddr_nl is a sockaddr; the kernel reads the given size, alive for the call.
            unsafe withUnsafePointer(to: &address) { pointer in
                unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    unsafe bind(raw, $0, socklen_t(MemoryLayout<sockaddr_nl>.size))
                }
            }
        }
    }

    /// The socket.
    public var descriptor: CInt { socket.rawValue }

    /// Takes the next message, without waiting.
    public func receive() throws(KernelError) -> UeventDatagram? {
        let raw = socket.rawValue
        var bytes = [UInt8](repeating: 0, count: UeventSocket.limit)
        var sender = clinux_netlink_sender()
        var flags: CInt = 0
        do throws(KernelError) {
            let count = try checked("recvmsg(AF_NETLINK)") {
                // SAFETY: the kernel writes at most the array's size; the others are filled, alive for the call.
                unsafe bytes.withUnsafeMutableBytes { buffer -> Int in
                    guard let start = buffer.baseAddress else { return 0 }
                    return unsafe clinux_receive_netlink(raw, start, buffer.count, &sender, &flags)
                }
            }
            bytes.removeLast(bytes.count - count)
        } catch {
            if error.errno == .resourceTemporarilyUnavailable { return nil }
            throw error
        }
        return UeventDatagram(
            bytes: bytes,
            sender: UeventDatagram.Sender(
                port: sender.port, groups: sender.groups, processID: sender.process < 0 ? nil : sender.process),
            isTruncated: flags & CLINUX_MSG_CUT != 0)
    }

    private func set(_ option: CInt, _ value: CInt) throws(KernelError) {
        let raw = socket.rawValue
        var value = value
        _ = try checked("setsockopt(AF_NETLINK)") {
            // SAFETY: the kernel reads one int, alive for the call.
            unsafe setsockopt(raw, SOL_SOCKET, option, &value, socklen_t(MemoryLayout<CInt>.size))
        }
    }
}
