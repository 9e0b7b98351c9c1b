public import LinuxSystem
internal import SystemPackage

/// Serves a ``VarlinkService`` on listening sockets.
///
/// The server lives on the event loop; calls are answered on Swift's own threads, one at a time per connection, so that
/// no client waits for another. A client that goes away ends its stream of replies, never what it started.
public actor VarlinkServer {
    /// What clients may use up.
    public struct Limits: Sendable {
        /// Connections at one time.
        public var connections = 256
        /// Connections of one user at one time, so that one user cannot shut out the others.
        public var connectionsPerUser = 128
        /// The longest message, bytes.
        public var messageBytes = 1 << 20
        /// Calls of one connection that wait; more are left in the socket.
        public var waitingCalls = 16
        /// Unsent bytes of one connection from which on it gets no further call begun.
        public var unsentBytesPaused = 1 << 20
        /// Unsent bytes of one connection from which on it is dropped.
        public var unsentBytes = 8 << 20
        /// Bytes that are thrown away after a bad message before the connection is closed.
        public var drainedBytes = 32 << 20
        /// Bytes per read: what one client can make the loop do before the next has its turn.
        public var bytesPerRead = 1 << 16
        /// Bytes per write.
        public var bytesPerWrite = 1 << 17
        /// Descriptors that may come with one message; 0 where no call takes any.
        public var descriptors = 0
        /// Descriptors that came and are still being closed, over all connections, from which on no more are taken.
        public var unclosedDescriptors = 1024

        /// The defaults.
        public init() {}
    }

    /// What an operator may want to know.
    public enum Event: Sendable {
        /// A client connected.
        case connected(PeerCredentials)
        /// A client was turned away.
        case turnedAway(PeerCredentials, reason: String)
        /// A message was bad.
        case badMessage(PeerCredentials, reason: String)
        /// A client was dropped.
        case dropped(PeerCredentials, reason: String)
        /// No connection could be accepted; it is tried again in a second.
        case notAccepting(KernelError)
    }

    private typealias ConnectionID = UInt64

    private let service: VarlinkService
    private let loop: EventLoop
    private let limits: Limits
    private let gate: (any ConnectionGate)?
    private let report: @Sendable (Event) -> Void
    private let closer = DescriptorCloser()
    private var listeners: [WatchedListener] = []
    private var connections: [ConnectionID: VarlinkConnection] = [:]
    private var lastID: ConnectionID = 0
    private var isStopping = false
    private var stopped: [CheckedContinuation<Void, Never>] = []

    /// The event loop.
    public nonisolated var unownedExecutor: UnownedSerialExecutor {
        // SAFETY: the reference is not counted; `loop` is a constant of this actor and so outlives it.
        unsafe loop.asUnownedSerialExecutor()
    }

    /// Creates a server without a listening socket. With a `gate`, that decides about each connection; `report` is called
    /// on the loop.
    public init(
        _ service: VarlinkService, on loop: EventLoop, limits: Limits = Limits(), gate: (any ConnectionGate)? = nil,
        report: @escaping @Sendable (Event) -> Void = { _ in }
    ) {
        self.service = service
        self.loop = loop
        self.limits = limits
        self.gate = gate
        self.report = report
    }

    /// How many clients are connected.
    public var connectionCount: Int { connections.count }

    /// Accepts connections from `socket` from now on.
    public func listen(_ socket: consuming UnixListener) throws(KernelError) {
        listeners.append(
            try WatchedListener(socket, on: loop, report: { [report] in report(.notAccepting($0)) }) {
                [weak self] (listener) throws(KernelError) in
                guard let self else { return }
                try self.assumeIsolated { server in
                    Result { () throws(KernelError) in try server.accept(from: listener) }
                }.get()
            })
    }

    /// Accepts nothing more and begins no call; returns once those that run have been answered, at the latest after
    /// `deadline`. Returns whether all were.
    public func stop(within deadline: Duration) async -> Bool {
        isStopping = true
        for listener in listeners { listener.stop() }
        listeners = []
        for (id, connection) in connections {
            if connection.isQuiet { close(id) } else { connection.endStream() }
        }
        let timer = Task { [weak self] in
            try? await Task.sleep(for: deadline)
            await self?.giveUpWaiting()
        }
        if !connections.isEmpty {
            await withCheckedContinuation { stopped.append($0) }
        }
        timer.cancel()
        let wasQuiet = connections.values.allSatisfy { !$0.isRunning }
        for id in connections.keys { close(id) }
        return wasQuiet
    }

    /// Ends all connections now. What runs goes on, and is not answered.
    public func disconnectAll() {
        for id in connections.keys { close(id) }
    }

    private func giveUpWaiting() {
        for continuation in stopped { continuation.resume() }
        stopped = []
    }

    private func accept(from listener: WatchedListener) throws(KernelError) {
        guard !isStopping else { return }
        // One per turn: those who are connected come first.
        if let socket = try listener.accept() { try admit(socket) }
    }

    private func admit(_ socket: consuming UnixSocket) throws(KernelError) {
        let peer = try socket.peerCredentials()
        let ofUser = connections.values.count { $0.peer.uid == peer.uid }
        guard connections.count < limits.connections, ofUser < limits.connectionsPerUser else {
            let whose = connections.count < limits.connections ? " of user \(peer.uid)" : ""
            let reason = "too many connections\(whose)"
            report(.turnedAway(peer, reason: reason))
            // A new socket has room for this; where it has not, the client sees the end of the connection.
            _ = try? socket.send(service.violation(reason).bytes + [0])
            return
        }
        do throws(VarlinkError) {
            try gate?.admit(socket, from: peer)
        } catch {
            report(.turnedAway(peer, reason: error.name))
            _ = try? socket.send(error.reply + [0])
            return
        }
        lastID += 1
        let id = lastID
        let connection = VarlinkConnection(socket, peer: peer, limits: limits, closer: closer)
        do throws(KernelError) {
            connection.registration = try loop.watch(connection.descriptor, for: connection.interest) {
                [weak self] ready in
                self?.assumeIsolated { $0.advance(id, ready) }
            }
        } catch {
            end(connection)
            throw error
        }
        connections[id] = connection
        report(.connected(peer))
    }

    private func advance(_ id: ConnectionID, _ ready: Readiness) {
        guard let connection = connections[id] else { return }
        if ready.contains(.hangUp) || ready.contains(.error) {
            // Both ways are closed. What was sent before that is still in the socket, and is taken once.
            if connection.phase == .open { _ = connection.receive() }
            abandon(connection)
        } else if ready.contains(.readable), connection.receive() == .ended {
            return close(id)
        }
        settle(id, connection)
    }

    /// Sends what can be sent, begins what can begin, and waits for what is left.
    private func settle(_ id: ConnectionID, _ connection: VarlinkConnection) {
        begin(id, connection)
        guard connection.flush() else { return close(id) }
        if connection.isReady { begin(id, connection) }
        if connection.phase == .draining && connection.unsent == 0 { return drain(id, connection) }
        if connection.isFinished || (isStopping && connection.isQuiet) { return close(id) }
        wait(id, connection)
    }

    private func wait(_ id: ConnectionID, _ connection: VarlinkConnection) {
        guard let registration = connection.registration, connection.wanted != connection.interest else { return }
        connection.interest = connection.wanted
        do throws(KernelError) {
            try loop.update(registration, for: connection.interest)
        } catch {
            report(.dropped(connection.peer, reason: "\(error)"))
            close(id)
        }
    }

    /// Throws away what is there, one read per turn, and closes when the bad message is over. Closing earlier would
    /// make the kernel take the error reply back from the client (ECONNRESET).
    private func drain(_ id: ConnectionID, _ connection: VarlinkConnection) {
        switch connection.receive() {
        case .ended: close(id)
        case .bytes: loop.submit { [weak self] in self?.assumeIsolated { $0.advance(id, []) } }
        case .nothing: wait(id, connection)
        }
    }

    private func begin(_ id: ConnectionID, _ connection: VarlinkConnection) {
        guard !isStopping, connection.isReady, let received = connection.takeReceived() else { return }
        switch received {
        case .violation(let violation):
            report(.badMessage(connection.peer, reason: "\(violation)"))
            _ = connection.add(service.violation("\(violation)"))
            connection.endAfterBadMessage()
        case .call(let message, let descriptors):
            connection.isRunning = true
            let (peer, path) = (connection.peer, path(to: id))
            Task.detached { [service, loop] in
                let answer = await service.answer(message, from: peer, descriptors: descriptors, path: path)
                loop.submit { self.assumeIsolated { $0.finish(id, with: answer) } }
            }
        }
    }

    private func path(to id: ConnectionID) -> ReplyPath {
        ReplyPath(
            send: { [loop] reply in loop.submit { self.assumeIsolated { $0.send(VarlinkReply(reply), to: id) } } },
            sendInTurn: { await self.sendInTurn($0, to: id) },
            whenNobodyListens: { await self.stream(to: id, until: $0) })
    }

    private func stream(to id: ConnectionID, until onEnd: @escaping @Sendable () -> Void) {
        guard !isStopping, let connection = connections[id], connection.phase != .abandoned else { return onEnd() }
        connection.stream(until: onEnd)
    }

    private func sendInTurn(_ reply: [UInt8], to id: ConnectionID) async -> Bool {
        guard !isStopping, let connection = connections[id], connection.phase != .abandoned else { return false }
        send(VarlinkReply(reply), to: id)
        await withCheckedContinuation { connection.waitUntilSent($0) }
        return connections[id] === connection && connection.phase != .abandoned && connection.unsent == 0
    }

    private func send(_ reply: VarlinkReply, to id: ConnectionID) {
        guard let connection = connections[id] else { return }
        if !connection.add(reply) {
            report(.dropped(connection.peer, reason: "it does not read its replies"))
            // What runs goes on; its replies go nowhere.
            abandon(connection)
        }
        settle(id, connection)
    }

    private func abandon(_ connection: VarlinkConnection) {
        connection.abandon()
        if let registration = connection.registration { loop.unwatch(registration) }
        connection.registration = nil
        end(connection)
    }

    private func end(_ connection: VarlinkConnection) {
        if connection.isOver { return }
        connection.isOver = true
        gate?.ended()
    }

    private func finish(_ id: ConnectionID, with answer: VarlinkService.Answer) {
        guard let connection = connections[id] else { return }
        connection.finishCall()
        switch answer {
        case .nothing: settle(id, connection)
        case .reply(let reply): send(reply, to: id)
        case .malformed(let reason, let reply):
            report(.badMessage(connection.peer, reason: reason))
            _ = connection.add(reply)
            connection.endAfterBadMessage()
            settle(id, connection)
        }
    }

    private func close(_ id: ConnectionID) {
        guard let connection = connections.removeValue(forKey: id) else { return }
        connection.endStream()
        if let registration = connection.registration { loop.unwatch(registration) }
        end(connection)
        if isStopping && connections.isEmpty { giveUpWaiting() }
    }
}
