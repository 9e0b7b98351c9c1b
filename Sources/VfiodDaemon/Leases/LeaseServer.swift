internal import LinuxSystem
internal import Logging
internal import PCI
internal import Passthrough
internal import Varlink
internal import VfiodAPI

/// The socket of one leased device in the form of descriptors: who is connected has the session.
final class LeaseServer: ConnectionGate, LeaseEndpoint {
    let address: PCIAddress
    private let gate: SessionGate
    private let server = Lock<VarlinkServer?>(nil)

    init(
        _ address: PCIAddress, devices: any DeviceOperations, on loop: EventLoop, logger: Logger
    ) throws(InterfaceDescription.ParseError) {
        self.address = address
        gate = SessionGate(address, devices: devices, on: loop, logger: logger)
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
        gate.whenOver { [weak self] in self?.server.withLock { $0 }?.assumeIsolated { $0.disconnectAll() } }
    }

    func listen(_ listener: consuming UnixListener) async throws(KernelError) {
        guard let server = server.withLock({ $0 }) else { return }
        try await server.listen(listener)
    }

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
        do throws(LeaseError) { return try await gate.session() } catch { throw VarlinkError(error, address) }
    }

    func admit(_ socket: borrowing UnixSocket, from peer: PeerCredentials) throws(VarlinkError) {
        let isAdmitted: Bool
        do throws(KernelError) {
            isAdmitted = try gate.admit(socket, from: peer) != nil
        } catch {
            throw VarlinkError(LeaseError.kernel(step: "begin the session", error), address)
        }
        guard !isAdmitted else { return }
        let other = gate.peer
        throw Session.SessionInUse(
            device: "\(address)", processId: Int(other?.pid ?? 0), uid: Int(other?.uid ?? 0)
        ).varlinkError
    }

    func ended() { gate.connectionEnded() }
}
