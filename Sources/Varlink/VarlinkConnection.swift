internal import LinuxSystem
internal import SystemPackage

/// One client's connection: what was received and not yet answered, and what was answered and not yet sent. It belongs
/// to the server's actor.
final class VarlinkConnection {
    /// What the server is to do about what was received, in order.
    enum Received {
        case call([UInt8], ReceivedDescriptors?)
        case violation(FrameViolation)
    }

    /// How far the end of the connection has come.
    enum Phase {
        /// Calls are taken.
        case open
        /// The client sends nothing more; what it sent is still answered.
        case halfClosed
        /// A bad message was answered: what still comes is thrown away.
        case draining
        /// The client is gone; what it sent is carried out without a reply.
        case abandoned
    }

    let peer: PeerCredentials
    var registration: EventLoop.Registration?
    var interest: Readiness = .readable
    var phase = Phase.open
    var isRunning = false
    /// Whether the call that runs, or ran last, goes on as long as somebody listens.
    private(set) var isStream = false
    private var isListenedTo = true
    private var onEnd: (@Sendable () -> Void)?
    private var sender: CheckedContinuation<Void, Never>?
    private(set) var received: [Received] = []
    private let socket: UnixSocket
    private let limits: VarlinkServer.Limits
    private var reader: FrameReader
    private let closer: DescriptorCloser
    /// What came with the message that is not whole yet.
    private var descriptors: ReceivedDescriptors?
    private var outgoing = OutgoingBytes()
    private var drained = 0
    /// Whether the gate was told that it is over.
    var isOver = false

    init(
        _ socket: consuming UnixSocket, peer: PeerCredentials, limits: VarlinkServer.Limits, closer: DescriptorCloser
    ) {
        self.peer = peer
        self.limits = limits
        self.closer = closer
        self.socket = socket
        reader = FrameReader(limit: limits.messageBytes)
    }

    var descriptor: CInt { socket.descriptor.rawValue }
    var unsent: Int { outgoing.count }

    /// What to wait for: nothing is read while enough calls wait or the client does not read its replies.
    var wanted: Readiness {
        var wanted: Readiness = unsent > 0 ? .writable : []
        switch phase {
        case .open where received.count < limits.waitingCalls && unsent < limits.unsentBytesPaused:
            wanted.insert(.readable)
        case .draining: wanted.insert(.readable)
        default: break
        }
        return wanted
    }

    /// Whether nothing is left to do.
    var isFinished: Bool {
        switch phase {
        case .open, .draining: false
        case .halfClosed: !isRunning && received.isEmpty && unsent == 0
        case .abandoned: !isRunning && received.isEmpty
        }
    }

    /// Whether a stop of the server need not wait for it. A stream that waits for its client would wait for ever.
    var isQuiet: Bool { !isRunning && (unsent == 0 || isStream) }

    /// Whether the next call may begin.
    var isReady: Bool {
        !isRunning && !received.isEmpty && phase != .draining && unsent < limits.unsentBytesPaused
    }

    func takeReceived() -> Received? {
        isStream = false
        return received.isEmpty ? nil : received.removeFirst()
    }

    /// What a read brought.
    enum Reading {
        case bytes
        case nothing
        /// The connection is broken, or draining has come to its end.
        case ended
    }

    /// Reads once.
    func receive() -> Reading {
        let bytes: [UInt8]
        let came: ReceivedDescriptors?
        let isTruncated: Bool
        do throws(KernelError) {
            (bytes, came, isTruncated) = try socket.receive(limit: limits.bytesPerRead, closer: closer)
        } catch {
            // Nothing waits: after a bad message this is the moment to close, unless its rest is still on its way.
            if error.errno == .resourceTemporarilyUnavailable {
                return phase == .draining && reader.isBetweenMessages && unsent == 0 ? .ended : .nothing
            }
            return .ended
        }
        if phase == .draining {
            drained += bytes.count
            _ = reader.feed(bytes)
            let isEnough = drained >= limits.drainedBytes || (came != nil && isBehindWithClosing)
            return bytes.isEmpty || isEnough ? .ended : .bytes
        }
        if bytes.isEmpty {
            if let last = reader.finish() { add(last) }
            phase = .halfClosed
        } else {
            take(reader.feed(bytes), came, isTruncated: isTruncated)
        }
        return .bytes
    }

    /// Whether so many descriptors wait to be closed that no more are taken. Who sends none is not concerned.
    private var isBehindWithClosing: Bool { closer.unclosedCount > limits.unclosedDescriptors }

    /// A read ends behind the bytes that descriptors came with (unix_stream_read_generic, net/unix/af_unix.c), so they
    /// belong to the message that it ends in, or ends with.
    private func take(_ frames: [FrameReader.Frame], _ came: ReceivedDescriptors?, isTruncated: Bool) {
        let endsWithMessage = reader.isBetweenMessages
        let whole = endsWithMessage ? frames.dropLast() : frames[...]
        for frame in whole { add(frame) }
        if let came { descriptors = descriptors.map { ReceivedDescriptors($0, then: came) } ?? came }
        let isTooMany = descriptors?.rawValues.count ?? 0 > limits.descriptors
        if isTruncated || isTooMany || (came != nil && isBehindWithClosing) {
            descriptors = nil
            return add(.violation(.descriptors(limit: limits.descriptors)))
        }
        if endsWithMessage, let last = frames.last { add(last) }
    }

    /// Puts a reply behind those that wait. Returns false if the client has let too many wait.
    func add(_ reply: VarlinkReply) -> Bool {
        guard phase != .abandoned else { return true }
        guard unsent < limits.unsentBytes else { return false }
        outgoing.add(reply.bytes + [reader.endMark], reply.descriptors)
        return true
    }

    /// Sends what the socket takes now. Returns false when the connection is broken.
    func flush() -> Bool {
        do throws(KernelError) {
            try outgoing.send(on: socket, limit: limits.bytesPerWrite)
        } catch {
            return false
        }
        guard unsent == 0 else { return true }
        wakeSender()
        return true
    }

    /// The call that runs is one that ends when nobody listens any more.
    func stream(until onEnd: @escaping @Sendable () -> Void) {
        isStream = true
        self.onEnd = onEnd
    }

    /// Waits until all is sent or the stream has ended.
    func waitUntilSent(_ continuation: CheckedContinuation<Void, Never>) {
        sender = continuation
        if unsent == 0 || !isListenedTo { wakeSender() }
    }

    /// Nobody listens any more.
    func endStream() {
        isListenedTo = false
        onEnd?()
        onEnd = nil
        wakeSender()
    }

    /// A call has come to its end.
    func finishCall() {
        isRunning = false
        onEnd = nil
    }

    private func wakeSender() {
        sender?.resume()
        sender = nil
    }

    /// Answers nothing more after what waits to be sent.
    func endAfterBadMessage() {
        if phase == .open { phase = .draining }
        received = []
    }

    /// The client is gone: nothing can be sent any more.
    func abandon() {
        phase = .abandoned
        outgoing = OutgoingBytes()
        endStream()
    }

    private func add(_ frame: FrameReader.Frame) {
        switch frame {
        case .message(let message):
            received.append(.call(message, descriptors))
            descriptors = nil
        case .violation(let violation): received.append(.violation(violation))
        }
    }
}
