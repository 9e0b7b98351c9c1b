internal import Glibc
internal import LinuxSystem
internal import Logging
internal import Passthrough
internal import ServiceLifecycle
internal import SystemPackage
internal import Systemd
internal import UnixSignals

/// Why vfiod cannot start.
public struct StartupError: Error, Sendable, CustomStringConvertible {
    /// One sentence.
    public let description: String
}

/// Runs vfiod until SIGTERM or SIGINT.
public func runVfiod(_ configuration: Configuration) async throws {
    let destination = LogDestination.detect(
        journalStream: environmentVariable("JOURNAL_STREAM"), standardError: try? FileIdentity(of: STDERR_FILENO))
    let logger = Logger(label: "vfiod") { _ in
        SystemLogHandler(destination, identifier: "vfiod", level: configuration.logLevel)
    }
    let notifier = try Notifier(socketPath: environmentVariable("NOTIFY_SOCKET"))
    let listener = try listeningSocket(configuration)
    let loop = try EventLoop(name: "vfiod-loop")
    defer { loop.stop() }
    let stop = try StopRequest(
        at: environmentVariable("VFIOD_STOP_AT"), by: environmentVariable("VFIOD_STOP_BY"))
    let host = try PassthroughHost(
        PassthroughHost.Configuration(
            stateDirectory: configuration.stateDirectory, names: configuration.names,
            stepDeadline: configuration.stepDeadline, selfTestGuest: configuration.selfTestGuest,
            selfTestLimits: configuration.selfTestLimits, leaseDirectory: configuration.leaseDirectory,
            leaseLimits: configuration.leaseLimits, sessionDeadlines: configuration.sessionDeadlines),
        on: loop, uevents: try UeventSocket(), stops: { stop?.reach($0, logger) }, logger: logger)
    _ = try await host.recover()
    await host.takeInventory()
    await host.adoptClaimed()
    let interval = Notifier.watchdogInterval(
        microseconds: environmentVariable("WATCHDOG_USEC"), processID: environmentVariable("WATCHDOG_PID"),
        ownProcessID: getpid())
    let daemon = Daemon(
        configuration, on: loop, devices: host, listener: listener, notifier: notifier, watchdogInterval: interval,
        logger: logger)
    var group = ServiceGroupConfiguration(
        services: [.init(service: daemon)], gracefulShutdownSignals: [.sigterm, .sigint], logger: logger)
    group.maximumGracefulShutdownDuration =
        max(configuration.stopDeadline, configuration.sessionDeadlines.total) + .seconds(5)
    try await ServiceGroup(configuration: group).run()
}

/// The socket that the service manager opened, or one of our own.
private func listeningSocket(_ configuration: Configuration) throws -> SharedDescriptor {
    let passed = try ListenDescriptors(
        count: environmentVariable("LISTEN_FDS"), processID: environmentVariable("LISTEN_PID"),
        names: environmentVariable("LISTEN_FDNAMES"), ownProcessID: getpid()
    ).take()
    switch passed.count {
    case 1: return passed[0].descriptor
    case 0: return try ownSocket(configuration.socketPath)
    default: throw StartupError(description: "the service manager passed \(passed.count) sockets; vfiod serves one")
    }
}

/// Binds `path`, unless somebody serves there.
func ownSocket(_ path: String) throws -> SharedDescriptor {
    do throws(KernelError) {
        _ = try UnixSocket(connectingTo: path)
    } catch {
        // ENOENT: free. ECONNREFUSED: left by a process that is gone.
        guard error.errno == .noSuchFileOrDirectory || error.errno == .connectionRefused else { throw error }
        let listener = try UnixListener(path: path)
        return SharedDescriptor(try listener.descriptor.duplicate())
    }
    throw StartupError(description: "another process already serves \(path)")
}
