internal import LinuxSystem
internal import Logging
internal import SystemPackage
internal import VFIOUser

/// A client's connection to a ``UserServer``, to whose actor it belongs: what was received and not yet carried out, and what
/// was answered and not yet sent.
final class UserConnection {
    /// How far its end has come.
    private enum Phase {
        case open
        /// Nothing more is taken; what was taken is carried out and answered.
        case closing
        /// The client is gone.
        case ended
    }

    private static let bytesPerRead = 1 << 16
    private static let bytesPerWrite = 1 << 17
    // Messages that wait to be carried out before no more are read, their bytes, and those of answers likewise.
    private static let waitingMessages = 64
    private static let waitingBytes = 1 << 20
    private static let waitingDescriptors = UnixSocket.maximumDescriptors
    private static let unsentBytes = 1 << 20
    // Descriptors that wait to be closed, which their sender may make take any time.
    private static let unclosedDescriptors = 1024

    let number: Int
    let peer: PeerCredentials
    /// The session that began with it, and no other's.
    let opening: SessionOpening
    let log: ClientLog
    /// Nil until the first message.
    var session: VFIOUserSession?
    var registration: EventLoop.Registration?
    var interest: Readiness = .readable
    private let socket: UnixSocket
    private let closer: DescriptorCloser
    private var reader: VFIOUserFrameReader
    private var waiting: [VFIOUserMessage] = []
    private var unsent = OutgoingBytes()
    private var isRunning = false
    private var phase = Phase.open

    init(
        _ number: Int, _ socket: consuming UnixSocket, _ peer: PeerCredentials, _ opening: SessionOpening,
        _ log: ClientLog, messageLimit: Int, closer: DescriptorCloser
    ) {
        (self.number, self.peer, self.opening, self.log) = (number, peer, opening, log)
        self.socket = socket
        self.closer = closer
        reader = VFIOUserFrameReader(messageLimit: messageLimit)
    }

    var descriptor: CInt { socket.descriptor.rawValue }

    /// Whether it is to be closed. What runs then goes on, and is answered to nobody.
    var isOver: Bool {
        switch phase {
        case .open: false
        case .closing: waiting.isEmpty && !isRunning && unsent.count == 0
        case .ended: true
        }
    }

    /// What to wait for.
    var wanted: Readiness {
        var wanted: Readiness = unsent.count == 0 ? [] : .writable
        if phase == .open, !isBehind { wanted.insert(.readable) }
        return wanted
    }

    /// Whether nothing is begun before the client has taken answers.
    var isAwaitingClient: Bool { unsent.count >= UserConnection.unsentBytes }

    /// Whether so much waits that no more is read.
    private var isBehind: Bool {
        waiting.count >= UserConnection.waitingMessages || isAwaitingClient
            || waiting.reduce(0) { $0 + $1.payload.count } >= UserConnection.waitingBytes
            || waiting.reduce(0) { $0 + ($1.descriptors?.rawValues.count ?? 0) } >= UserConnection.waitingDescriptors
    }

    /// Takes what happened on the socket.
    func take(_ ready: Readiness) {
        if ready.contains(.readable), phase == .open { receive() }
        if ready.contains(.hangUp) || ready.contains(.error) { phase = .ended }
    }

    private func receive() {
        do throws(KernelError) {
            let (bytes, descriptors, isTruncated) = try socket.receive(
                limit: UserConnection.bytesPerRead, closer: closer)
            if isTruncated {
                log.write(.warning, event: "bad-message", "descriptors of its client were lost: it is at our limit")
            }
            let isBehindWithClosing =
                descriptors != nil && closer.unclosedCount > UserConnection.unclosedDescriptors
            guard !bytes.isEmpty, !isTruncated, !isBehindWithClosing else { return phase = .ended }
            let (messages, violation) = reader.feed(bytes, descriptors)
            waiting += messages
            guard let violation else { return }
            log.write(
                .warning, event: "bad-message", "its client is disconnected: \(violation)",
                ["peer_pid": "\(peer.pid)"])
            phase = .closing
        } catch {
            if error.errno != .resourceTemporarilyUnavailable { phase = .ended }
        }
    }

    /// The message that is to be carried out now, until ``finish(_:_:)``; nil for none.
    func begin() -> VFIOUserMessage? {
        guard !isRunning, phase != .ended, !waiting.isEmpty, !isAwaitingClient else { return nil }
        isRunning = true
        return waiting.removeFirst()
    }

    /// A message was carried out. Without a session there is nothing that a client could do.
    func finish(_ session: VFIOUserSession?, _ answer: VFIOUserAnswer?) {
        isRunning = false
        self.session = session
        if let answer { unsent.add(answer.bytes, answer.descriptor.map { [$0] } ?? []) }
        guard session == nil else { return }
        waiting = []
        if phase == .open { phase = .closing }
    }

    /// Sends what the socket takes now.
    func flush() {
        do throws(KernelError) {
            try unsent.send(on: socket, limit: UserConnection.bytesPerWrite)
        } catch {
            phase = .ended
        }
    }
}
