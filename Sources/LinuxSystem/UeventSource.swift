/// Where the kernel's uevents come from, one datagram each (kobject_uevent, lib/kobject_uevent.c).
///
/// It exists twice: ``UeventSocket``, and a fake in TestSupport.
public protocol UeventSource: Sendable {
    /// Readable while ``receive()`` has something to tell. The source keeps it open as long as it lives.
    var descriptor: CInt { get }

    /// The next datagram; nil if none waits. Throws ENOBUFS, once, after datagrams were lost because nobody came for
    /// them in time; more may be lost without a word until none waits.
    func receive() throws(KernelError) -> UeventDatagram?
}

/// A uevent as it came, from the kernel or from somebody who says so.
public struct UeventDatagram: Hashable, Sendable {
    /// Who sent a netlink message (netlink(7)).
    public struct Sender: Hashable, Sendable {
        /// The sender's port: 0 is the kernel's, and no process can have it.
        public let port: UInt32
        /// The multicast groups it was sent to, as a mask; 0 if it was sent to us alone.
        public let groups: UInt32
        /// The process of its credentials: 0 for the kernel, and for processes outside of our PID namespace; nil if
        /// none came.
        public let processID: Int32?

        /// Creates a sender.
        public init(port: UInt32, groups: UInt32, processID: Int32?) {
            (self.port, self.groups, self.processID) = (port, groups, processID)
        }

        /// Whether it is the kernel, speaking to all. A process with CAP_NET_ADMIN can send to the group, and one with
        /// CAP_SYS_ADMIN can claim to be process 0, but the port is the kernel's to give.
        public var isKernel: Bool { port == 0 && groups == UeventSocket.kernelGroup && processID == 0 }
    }

    /// `ACTION@DEVPATH`, then `KEY=VALUE` fields, each ended by a NUL.
    public let bytes: [UInt8]
    /// Who sent it.
    public let sender: Sender
    /// Whether its end was cut off.
    public let isTruncated: Bool

    /// Creates a datagram.
    public init(bytes: [UInt8], sender: Sender, isTruncated: Bool = false) {
        (self.bytes, self.sender, self.isTruncated) = (bytes, sender, isTruncated)
    }
}
