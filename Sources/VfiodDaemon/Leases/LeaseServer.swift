internal import LinuxSystem
internal import Logging
internal import PCI
internal import Passthrough
internal import Varlink
internal import VfiodAPI

/// The socket of one leased device: who is connected has the session.
///
/// A session ends with its process, where the kernel can tell of that (Linux 6.5), even if a child of it still has the
/// connection; otherwise with its connection.
final class LeaseServer: ConnectionGate {
    private struct Connected: Sendable {
        let number: Int
        let peer: PeerCredentials
        let opening: Task<Result<any DeviceSession, LeaseError>, Never>
        var process: (descriptor: SharedDescriptor, registration: EventLoop.Registration)?
        var isEnding = false
    }

    let address: PCIAddress
    private let devices: any DeviceOperations
    private let loop: EventLoop
    private let logger: Logger
    private let connected = Lock<Connected?>(nil)
    private let lastNumber = Lock(0)
    private let server = Lock<VarlinkServer?>(nil)

    init(
        _ address: PCIAddress, devices: any DeviceOperations, on loop: EventLoop, logger: Logger
    ) throws(InterfaceDescription.ParseError) {
        (self.address, self.devices, self.loop, self.logger) = (address, devices, loop, logger)
        let service = try VarlinkService(
            VarlinkService.Information(vendor: "vfiod", product: "vfiod", version: vfiodVersion, url: ""),
            interfaces: [VarlinkInterface(try SessionInterface.description(), methods: sessionMethods(self))],
            protocolError: SessionInterface.protocolError)
        var limits = VarlinkServer.Limits()
        // Those beside the session are turned away, by name.
        limits.connections = 4
        limits.messageBytes = 1 << 16
        limits.descriptors = UnixSocket.maximumDescriptors
        let made = VarlinkServer(service, on: loop, limits: limits, gate: self) { event in
            VfiodDaemon.log(event, logger, "the lease of \(address)")
        }
        server.withLock { $0 = made }
    }

    func listen(_ listener: consuming UnixListener) async throws(KernelError) {
        guard let server = server.withLock({ $0 }) else { return }
        try await server.listen(listener)
    }

    /// Ends the connection, and takes no other.
    func stop() async {
        let server = server.withLock { server in
            defer { server = nil }
            return server
        }
        await server?.disconnectAll()
        _ = await server?.stop(within: .zero)
    }

    /// The session of who is connected.
    func session() async throws(VarlinkError) -> any DeviceSession {
        guard let opening = connected.withLock({ $0?.opening }) else {
            throw VarlinkError(LeaseError.ended(address, .connectionClosed), address)
        }
        switch await opening.value {
        case .success(let session): return session
        case .failure(let error): throw VarlinkError(error, address)
        }
    }

    func admit(_ socket: borrowing UnixSocket, from peer: PeerCredentials) throws(VarlinkError) {
        if let other = connected.withLock({ $0?.peer }) {
            throw Session.SessionInUse(device: "\(address)", processId: Int(other.pid), uid: Int(other.uid))
                .varlinkError
        }
        let process: OwnedDescriptor?
        do throws(KernelError) {
            process = try socket.peerProcess()
        } catch {
            throw VarlinkError(LeaseError.kernel(step: "begin the session", error), address)
        }
        let (devices, address) = (devices, address)
        let number = lastNumber.withLock { number in
            number += 1
            return number
        }
        let who = SessionPeer(processID: Int(peer.pid), user: peer.uid, group: peer.gid)
        let over: @Sendable () -> Void = { [weak self] in self?.over(number) }
        let opening = Task<Result<any DeviceSession, LeaseError>, Never> {
            do throws(LeaseError) {
                return .success(try await devices.beginSession(address, for: who, ended: over))
            } catch {
                return .failure(error)
            }
        }
        connected.withLock { $0 = Connected(number: number, peer: peer, opening: opening) }
        if let process { watch(SharedDescriptor(process)) }
    }

    func ended() {
        end(.connectionClosed)
    }

    private func watch(_ process: SharedDescriptor) {
        do throws(KernelError) {
            let registration = try loop.watch(process.rawValue, for: .readable) { [weak self] _ in
                self?.end(.processEnded)
            }
            connected.withLock { $0?.process = (process, registration) }
        } catch {
            logger.warning("the process of the session of \(address) cannot be watched: \(error)")
        }
    }

    /// Ends the session. On the loop.
    private func end(_ reason: SessionEndReason) {
        let found = connected.withLock { connected in
            defer {
                connected?.isEnding = true
                connected?.process = nil
            }
            return connected?.isEnding ?? true ? nil : connected
        }
        guard let found else { return }
        // Readable for good from now on, so it must not be watched any longer.
        if let process = found.process { loop.unwatch(process.registration) }
        let (devices, address) = (devices, address)
        Task {
            if case .success = await found.opening.value { await devices.endSession(address, reason) }
            over(found.number)
        }
    }

    /// The session of a connection is over, whoever ended it: so is the connection, before another is let in.
    private func over(_ number: Int) {
        loop.submit { [self] in
            let left = connected.withLock { connected in
                defer { if connected?.number == number { connected = nil } }
                return connected?.number == number ? connected : nil
            }
            guard let left else { return }
            if let process = left.process { loop.unwatch(process.registration) }
            server.withLock { $0 }?.assumeIsolated { $0.disconnectAll() }
        }
    }
}
