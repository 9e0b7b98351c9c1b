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
    // The most that a client may be told of (QEMU).
    private static let mappings = 65535

    private let address: PCIAddress
    private let mapsBARs: Bool
    private let gate: SessionGate
    private let loop: EventLoop
    private let logger: Logger
    private let limits: VFIOUserSession.Limits
    private let closer = DescriptorCloser()
    /// For what is no connection's.
    private let log: ClientLog
    private var listener: WatchedListener?
    private var connection: UserConnection?
    private var lastNumber = 0

    nonisolated var unownedExecutor: UnownedSerialExecutor {
        // SAFETY: the reference is not counted; `loop` is a constant of this actor and so outlives it.
        unsafe loop.asUnownedSerialExecutor()
    }

    /// `mappings`: how many ranges of memory a lease may have. `mapsBARs`: whether a client may map the device's registers.
    init(
        _ address: PCIAddress, devices: any DeviceOperations, mappings: Int, mapsBARs: Bool, on loop: EventLoop,
        logger: Logger
    ) {
        (self.address, self.mapsBARs, self.loop, self.logger) = (address, mapsBARs, loop, logger)
        var limits = VFIOUserSession.Limits()
        limits.mappings = min(mappings, UserServer.mappings)
        self.limits = limits
        log = ClientLog(address, logger)
        gate = SessionGate(address, devices: devices, on: loop, logger: logger)
        gate.whenOver { [weak self] in self?.assumeIsolated { $0.disconnect() } }
    }

    /// Whether its client is not read any more, before it takes the answers that it has.
    var isAwaitingClient: Bool {
        connection.map { $0.isAwaitingClient && !$0.interest.contains(.readable) } ?? false
    }

    func listen(_ socket: consuming UnixListener) throws(KernelError) {
        let report: @Sendable (KernelError) -> Void = { [log] error in
            log.write(.error, event: "not-accepting", "no client can connect, which is tried again: \(error)")
        }
        listener = try WatchedListener(socket, on: loop, report: report) {
            [weak self] (listener) throws(KernelError) in
            guard let self else { return }
            try self.assumeIsolated { server in
                Result { () throws(KernelError) in try server.accept(from: listener) }
            }.get()
        }
    }

    func stop() {
        listener?.stop()
        listener = nil
        disconnect()
    }

    private func accept(from listener: WatchedListener) throws(KernelError) {
        guard let socket = try listener.accept() else { return }
        do throws(KernelError) {
            try admit(socket)
        } catch {
            log.write(.warning, event: "session-refused", "a client cannot connect: \(error)")
        }
    }

    private func admit(_ socket: consuming UnixSocket) throws(KernelError) {
        let peer = try socket.peerCredentials()
        guard connection == nil, let opening = try gate.admit(socket, from: peer) else {
            // The protocol has no word for it: the client sees the end of its connection.
            let other = connection?.peer ?? gate.peer
            log.write(
                .warning, event: "session-refused",
                "process \(peer.pid) of user \(peer.uid) is turned away: process \(other?.pid ?? 0) uses it",
                ["peer_uid": "\(peer.uid)"])
            return
        }
        lastNumber += 1
        let number = lastNumber
        let made = UserConnection(
            number, socket, peer, opening, ClientLog(address, logger), messageLimit: limits.message, closer: closer)
        do throws(KernelError) {
            made.registration = try loop.watch(made.descriptor, for: made.interest) { [weak self] ready in
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
        connection.take(ready)
        settle(connection)
    }

    /// Sends what can be sent, begins what can begin, and waits for what is left.
    private func settle(_ connection: UserConnection) {
        begin(connection)
        connection.flush()
        // What was not begun because too much was unsent.
        begin(connection)
        if connection.isOver { return disconnect() }
        let wanted = connection.wanted
        guard wanted != connection.interest, let registration = connection.registration else { return }
        connection.interest = wanted
        do throws(KernelError) {
            try loop.update(registration, for: wanted)
        } catch {
            connection.log.write(.warning, event: "vfio-user", "its client is disconnected: \(error)")
            disconnect()
        }
    }

    private func begin(_ connection: UserConnection) {
        guard let message = connection.begin() else { return }
        let (number, known, opening, log) = (
            connection.number, connection.session, connection.opening, connection.log
        )
        Task.detached { [self] in
            var session = if let known { known } else { await opened(opening, log) }
            let answer =
                await session?.answer(message)
                ?? (session == nil ? VFIOUserAnswer(to: message.header, refusing: .resourceBusy) : nil)
            await finish(number, session, answer)
        }
    }

    /// The session on the device, which is opened with the first message.
    private nonisolated func opened(_ opening: SessionOpening, _ log: ClientLog) async -> VFIOUserSession? {
        do throws(LeaseError) {
            let device = UserDevice(try await opening.value.get(), mapsBARs: mapsBARs) { text in
                log.write(.info, event: "vfio-user", text)
            }
            return VFIOUserSession(device, limits: limits) { command, error in
                let name = command.map { "\($0)" } ?? "an unknown command"
                log.write(
                    .info, event: "vfio-user-error", "\(name) of its client failed: \(error.name)",
                    ["errno": "\(error.name)"])
            }
        } catch {
            log.write(.warning, event: "session-refused", "no session begins for its client: \(error)")
            return nil
        }
    }

    private func finish(_ number: Int, _ session: VFIOUserSession?, _ answer: VFIOUserAnswer?) {
        guard let connection, connection.number == number else { return }
        connection.finish(session, answer)
        settle(connection)
    }

    private func disconnect() {
        guard let left = connection else { return }
        connection = nil
        if let registration = left.registration { loop.unwatch(registration) }
        left.log.end()
        gate.connectionEnded()
    }
}
