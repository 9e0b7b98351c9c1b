internal import Glibc
public import LinuxSystem
internal import SystemPackage

/// The kernel's side of uevents: what it sends reaches everybody who listens, and is lost on those who do not read.
public final class FakeUevents: Sendable {
    private let listeners = Lock<[Listener]>([])

    /// Creates it without listeners.
    public init() {}

    /// A new listener, for what is sent from now on.
    public func listen() throws(KernelError) -> any UeventSource {
        let listener = try Listener()
        listeners.withLock { $0.append(listener) }
        return listener
    }

    /// Sends a message as the kernel writes it: `add@/devices/...` and the fields, ACTION, DEVPATH, SUBSYSTEM first.
    public func send(_ action: String, _ path: String, subsystem: String = "pci", _ fields: [String] = []) {
        let lines = ["\(action)@\(path)", "ACTION=\(action)", "DEVPATH=\(path)", "SUBSYSTEM=\(subsystem)"] + fields
        send(bytes: Array((lines + ["SEQNUM=1"]).map { $0 + "\0" }.joined().utf8))
    }

    /// Sends any bytes, as anybody.
    public func send(
        bytes: [UInt8],
        from sender: UeventDatagram.Sender = UeventDatagram.Sender(port: 0, groups: 1, processID: 0),
        isTruncated: Bool = false
    ) {
        let datagram = UeventDatagram(bytes: bytes, sender: sender, isTruncated: isTruncated)
        for listener in listeners.withLock({ $0 }) { listener.add(datagram) }
    }

    /// From now on listeners lose what is sent, until ``overrun()``.
    public func beginOverrun() {
        for listener in listeners.withLock({ $0 }) { listener.setLosing(true) }
    }

    /// Tells all listeners that they have lost something. Each goes on losing until it has read all that waits for it.
    public func overrun() {
        for listener in listeners.withLock({ $0 }) { listener.setLosing(false) }
    }

    /// A queue whose descriptor, one end of a socket pair, is readable as long as something waits in it.
    private final class Listener: UeventSource {
        private struct State {
            var queue: [Result<UeventDatagram, KernelError>] = []
            var isLosing = false
            var isCongested = false
        }

        private let state = Lock(State())
        private let ours: SharedDescriptor
        private let theirs: SharedDescriptor

        init() throws(KernelError) {
            (ours, theirs) = try UnixSocket.pair(.stream).take { (SharedDescriptor($0), SharedDescriptor($1)) }
        }

        var descriptor: CInt { theirs.rawValue }

        func add(_ datagram: UeventDatagram) {
            state.withLock { state in
                if state.isLosing || state.isCongested { return }
                state.queue.append(.success(datagram))
                signal()
            }
        }

        func setLosing(_ isLosing: Bool) {
            state.withLock { state in
                if state.isLosing && !isLosing {
                    // The error comes before what waits.
                    state.queue.insert(.failure(KernelError("recvmsg(AF_NETLINK)", .noBufferSpace)), at: 0)
                    state.isCongested = true
                    signal()
                }
                state.isLosing = isLosing
            }
        }

        func receive() throws(KernelError) -> UeventDatagram? {
            let next = state.withLock { state -> Result<UeventDatagram, KernelError>? in
                if state.queue.isEmpty {
                    state.isCongested = false
                    return nil
                }
                var byte: UInt8 = 0
                // SAFETY: one byte, alive for the call; one was written for each entry.
                _ = unsafe recv(theirs.rawValue, &byte, 1, CInt(MSG_DONTWAIT))
                return state.queue.removeFirst()
            }
            return try next?.get()
        }

        private func signal() {
            var byte: UInt8 = 1
            // SAFETY: one byte, alive for the call. A full buffer is readable all the same.
            _ = unsafe Glibc.send(ours.rawValue, &byte, 1, CInt(MSG_DONTWAIT) | CInt(MSG_NOSIGNAL))
        }
    }
}
