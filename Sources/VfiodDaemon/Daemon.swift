public import LinuxSystem
public import Logging
public import Passthrough
public import ServiceLifecycle
public import Systemd
internal import Varlink
internal import VfiodAPI

/// Serves io.vfiod until it is told to stop.
public struct Daemon: Service {
    private let configuration: Configuration
    private let loop: EventLoop
    private let devices: any DeviceOperations
    private let listener: SharedDescriptor
    private let notifier: Notifier
    private let watchdogInterval: Duration?
    private let logger: Logger

    /// Serves `devices` on `listener`, a listening socket, with `loop`, which goes on when it has ended.
    public init(
        _ configuration: Configuration, on loop: EventLoop, devices: any DeviceOperations, listener: SharedDescriptor,
        notifier: Notifier, watchdogInterval: Duration? = nil, logger: Logger
    ) {
        self.configuration = configuration
        self.loop = loop
        self.devices = devices
        self.listener = listener
        self.notifier = notifier
        self.watchdogInterval = watchdogInterval
        self.logger = logger
    }

    /// Serves, and on graceful shutdown waits for the operations that run, for at most the configured time.
    public func run() async throws {
        var limits = VarlinkServer.Limits()
        limits.connections = configuration.connections
        limits.connectionsPerUser = configuration.connectionsPerUser
        let server = VarlinkServer(try service(), on: loop, limits: limits) { [logger] event in
            log(event, logger)
        }
        try await server.listen(UnixListener(adopting: try listener.duplicate()))
        let sockets = try LeaseSockets(
            directory: configuration.leaseDirectory, devices: devices, mappings: configuration.leaseLimits.mappings,
            on: loop, logger: logger)
        await devices.serveLeases(through: sockets)
        try notifier.notify(.ready, .status("Serving"))
        logger.info("vfiod \(vfiodVersion) is ready")
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await feedWatchdog(through: server) }
            // Cancellation ends the wait like a graceful shutdown does.
            try? await gracefulShutdown()
            group.cancelAll()
        }
        tell(.stopping, .status("Waiting for operations to end"))
        async let sessionsEnded: Void = endSessions(sockets)
        if await !server.stop(within: configuration.stopDeadline) {
            logger.warning("stopping although an operation still runs; the next start takes it up")
        }
        await sessionsEnded
    }

    /// Those that begin meanwhile too: they are told why, before their sockets close.
    private func endSessions(_ sockets: LeaseSockets) async {
        await devices.endSessions()
        await sockets.closeAll()
        await devices.endSessions()
    }

    private func service() throws(Varlink.InterfaceDescription.ParseError) -> VarlinkService {
        let audit = AuditLog(logger: logger)
        let methods: [String: VarlinkMethod] = [
            List.name: .list(devices),
            Monitor.name: .monitor(devices),
            Describe.name: .describe(devices),
            PlanOperation.name: .plan(devices),
            Bind.name: .bind(devices, audit),
            Restore.name: .restore(devices, audit),
            SetVirtualFunctions.name: .setVirtualFunctions(devices, audit),
            Apply.name: .apply(devices, audit, configuration),
            Reset.name: .reset(devices, audit),
            Release.name: .release(devices, audit),
            SelfTest.name: .selfTest(devices, audit),
            Attach.name: .attach(devices, audit),
            Detach.name: .detach(devices, audit),
            Leases.name: .leases(devices),
            Interrupts.name: .interrupts(devices),
        ]
        return try VarlinkService(
            VarlinkService.Information(
                vendor: "vfiod", product: "vfiod", version: vfiodVersion, url: ""),
            interfaces: [VarlinkInterface(try VfiodInterface.description(), methods: methods)],
            protocolError: Wire.ProtocolError.fullName)
    }

    /// A ping goes through the server's event loop, so that a loop that is stuck is noticed.
    private func feedWatchdog(through server: VarlinkServer) async {
        guard let watchdogInterval else { return }
        while !Task.isCancelled {
            _ = await server.connectionCount
            tell(.watchdog)
            try? await Task.sleep(for: watchdogInterval)
        }
    }

    private func tell(_ states: Notifier.State...) {
        for state in states {
            do throws(KernelError) {
                try notifier.notify(state)
            } catch {
                logger.warning("the service manager cannot be told: \(error)")
            }
        }
    }
}
