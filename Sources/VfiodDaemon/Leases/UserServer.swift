internal import LinuxSystem
internal import Logging
internal import PCI
internal import Passthrough
internal import SystemPackage
internal import VFIOUser

/// The socket of one leased device in the form of vfio-user: a VMM that connects drives the device, and nobody beside it.
///
/// The connection is served on the event loop; what a message asks for runs beside it, one after the other.
actor UserServer: LeaseEndpoint {
    private static let bytesPerRead = 1 << 16
    // Messages that wait to be carried out before no more are read, their bytes, and those of answers likewise.
    private static let waitingMessages = 64
    private static let waitingBytes = 1 << 20
    private static let waitingDescriptors = UnixSocket.maximumDescriptors
    // Descriptors that wait to be closed, which their sender may make take any time.
    private static let unclosedDescriptors = 1024
    private static let unsentBytes = 1 << 20
    private static let bytesPerWrite = 1 << 17

    private final class Listener: Sendable {
        let socket: UnixListener
        init(_ socket: consuming UnixListener) { self.socket = socket }
    }

    private final class Connection {
        let number: Int
        let socket: UnixSocket
        let peer: PeerCredentials
        var reader: VFIOUserFrameReader
        var session: VFIOUserSession?
        var registration: EventLoop.Registration?
        var interest: Readiness = .readable
        var waiting: [VFIOUserMessage] = []
        var unsent = OutgoingBytes()
        var isRunning = false
        var isEnding = false

        init(_ number: Int, _ socket: consuming UnixSocket, _ peer: PeerCredentials, messageLimit: Int) {
            (self.number, self.peer) = (number, peer)
            self.socket = socket
            reader = VFIOUserFrameReader(messageLimit: messageLimit)
        }

        /// Whether so much waits that no more is read.
        var isBehind: Bool {
            waiting.count >= UserServer.waitingMessages || unsent.count >= UserServer.unsentBytes
                || waiting.reduce(0) { $0 + $1.payload.count } >= UserServer.waitingBytes
                || waiting.reduce(0) { $0 + ($1.descriptors?.rawValues.count ?? 0) } >= UserServer.waitingDescriptors
        }
    }

    private let address: PCIAddress
    private let gate: SessionGate
    private let loop: EventLoop
    private let logger: Logger
    private let limits = VFIOUserSession.Limits()
    private let closer = DescriptorCloser()
    private var listener: (listener: Listener, registration: EventLoop.Registration)?
    private var connection: Connection?
    private var lastNumber = 0

    nonisolated var unownedExecutor: UnownedSerialExecutor {
        // SAFETY: the reference is not counted; `loop` is a constant of this actor and so outlives it.
        unsafe loop.asUnownedSerialExecutor()
    }

    init(_ address: PCIAddress, devices: any DeviceOperations, on loop: EventLoop, logger: Logger) {
        (self.address, self.loop, self.logger) = (address, loop, logger)
        gate = SessionGate(address, devices: devices, on: loop, logger: logger)
        gate.whenOver { [weak self] in self?.assumeIsolated { $0.disconnect() } }
    }

    func listen(_ socket: consuming UnixListener) throws(KernelError) {
        let made = Listener(socket)
        let registration = try loop.watch(made.socket.descriptor.rawValue, for: .readable) { [weak self, weak made] _ in
            guard let self, let made else { return }
            self.assumeIsolated { $0.accept(from: made) }
        }
        listener = (made, registration)
    }

    func stop() {
        if let listener { loop.unwatch(listener.registration) }
        listener = nil
        disconnect()
    }

    private func accept(from listener: Listener) {
        do throws(KernelError) {
            guard let socket = try listener.socket.accept() else { return }
            try admit(socket)
        } catch {
            logger.warning("a client of \(address) cannot connect: \(error)")
        }
    }

    private func admit(_ socket: consuming UnixSocket) throws(KernelError) {
        let peer = try socket.peerCredentials()
        guard connection == nil, try gate.admit(socket, from: peer) else {
            // The protocol has no word for it: the client sees the end of its connection.
            let other = connection?.peer ?? gate.peer
            logger.warning(
                "process \(peer.pid) of user \(peer.uid) is turned away from \(address): process \(other?.pid ?? 0) uses it",
                metadata: ["event": "session-refused", "device": "\(address)", "peer_uid": "\(peer.uid)"])
            return
        }
        lastNumber += 1
        let made = Connection(lastNumber, socket, peer, messageLimit: limits.message)
        do throws(KernelError) {
            let number = lastNumber
            made.registration = try loop.watch(made.socket.descriptor.rawValue, for: .readable) { [weak self] ready in
                self?.assumeIsolated { $0.advance(number, ready) }
            }
        } catch {
            gate.connectionEnded()
            throw error
        }
        connection = made
    }

    private func advance(_ number: Int, _ ready: Readiness) {
        guard let connection, connection.number == number else { return }
        if ready.contains(.readable), !connection.isEnding { receive(connection) }
        if ready.contains(.hangUp) || ready.contains(.error) { connection.isEnding = true }
        settle(connection)
    }

    private func receive(_ connection: Connection) {
        do {
            let (bytes, descriptors, isTruncated) = try connection.socket.receive(
                limit: UserServer.bytesPerRead, closer: closer)
            if bytes.isEmpty || isTruncated { connection.isEnding = true }
            if isTruncated {
                logger.warning("descriptors of a client of \(address) were lost: it is at our limit of them")
            }
            if descriptors != nil, closer.unclosedCount > UserServer.unclosedDescriptors { connection.isEnding = true }
            connection.waiting += try connection.reader.feed(bytes, descriptors)
        } catch let violation as VFIOUserViolation {
            logger.warning(
                "the client of \(address) is disconnected: \(violation)",
                metadata: ["event": "bad-message", "device": "\(address)", "peer_pid": "\(connection.peer.pid)"])
            connection.isEnding = true
            connection.waiting = []
        } catch let error as KernelError where error.errno == .resourceTemporarilyUnavailable {
            return
        } catch {
            connection.isEnding = true
        }
    }

    /// Sends what can be sent, begins what can begin, and waits for what is left.
    private func settle(_ connection: Connection) {
        begin(connection)
        do throws(KernelError) {
            try connection.unsent.send(on: connection.socket, limit: UserServer.bytesPerWrite)
        } catch {
            connection.isEnding = true
        }
        // What was not begun because too much was unsent.
        begin(connection)
        // What runs goes on, and is answered to nobody.
        if connection.isEnding { return disconnect() }
        var wanted: Readiness = connection.unsent.count == 0 ? [] : .writable
        if !connection.isBehind { wanted.insert(.readable) }
        guard wanted != connection.interest, let registration = connection.registration else { return }
        connection.interest = wanted
        do throws(KernelError) {
            try loop.update(registration, for: wanted)
        } catch {
            logger.warning("the client of \(address) is disconnected: \(error)")
            disconnect()
        }
    }

    private func begin(_ connection: Connection) {
        guard !connection.isRunning, !connection.isEnding, !connection.waiting.isEmpty,
            connection.unsent.count < UserServer.unsentBytes
        else { return }
        let message = connection.waiting.removeFirst()
        connection.isRunning = true
        let number = connection.number
        let known = connection.session
        Task.detached { [self] in
            var session = await opened(known)
            let answer =
                await session?.answer(message)
                ?? (session == nil ? VFIOUserAnswer(to: message.header, refusing: .resourceBusy) : nil)
            await finish(number, session, answer)
        }
    }

    /// The session on the device, which is opened with the first message.
    private func opened(_ known: VFIOUserSession?) async -> VFIOUserSession? {
        if let known { return known }
        do throws(LeaseError) {
            let (logger, address) = (logger, address)
            let device = UserDevice(try await gate.session()) { text in
                logger.info("\(address): \(text)", metadata: ["event": "vfio-user", "device": "\(address)"])
            }
            return VFIOUserSession(device, limits: limits) { command, error in
                let name = command.map { "\($0)" } ?? "an unknown command"
                logger.info(
                    "\(address): \(name) of its client failed: \(error.name)",
                    metadata: ["event": "vfio-user-error", "device": "\(address)", "errno": "\(error.name)"])
            }
        } catch {
            logger.warning("no session of \(address) begins for its client: \(error)")
            return nil
        }
    }

    private func finish(_ number: Int, _ session: VFIOUserSession?, _ answer: VFIOUserAnswer?) {
        guard let connection, connection.number == number else { return }
        connection.isRunning = false
        connection.session = session
        // Without a session there is nothing that a client could do.
        if session == nil { connection.isEnding = true }
        if let answer { connection.unsent.add(answer.bytes, answer.descriptor.map { [$0] } ?? []) }
        settle(connection)
    }

    private func disconnect() {
        guard let left = connection else { return }
        connection = nil
        if let registration = left.registration { loop.unwatch(registration) }
        gate.connectionEnded()
    }
}
