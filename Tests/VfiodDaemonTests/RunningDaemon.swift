import LinuxSystem
import Logging
import ServiceLifecycle
import Systemd
import TestSupport
import Testing
import Varlink
import VfiodAPI
import VfiodDaemon

/// A daemon in this process, on a real socket, over devices in memory.
final class RunningDaemon: Sendable {
    let directory: TemporaryDirectory
    let devices = InMemoryDevices()
    let group: ServiceGroup
    let log = Lines()
    private let notifications: DatagramReceiver
    private let loop: EventLoop

    deinit { loop.stop() }

    final class Lines: Sendable {
        private let lines = Lock<[String]>([])
        var all: [String] { lines.withLock { $0 } }
        func add(_ line: String) { lines.withLock { $0.append(line) } }
    }

    var path: String { directory.file("io.vfiod") }
    /// Where the daemon looks for its configuration when it reads it again.
    var configurationPath: String { directory.file("vfiod.toml") }

    init() throws {
        directory = try TemporaryDirectory()
        notifications = try DatagramReceiver(path: directory.file("notify"))
        let listener = try UnixListener(path: directory.file("io.vfiod"))
        let logger = Logger(label: "test") { [log] _ in
            SystemLogHandler(.standardError { log.add($0) }, identifier: "vfiod", level: .info)
        }
        loop = try EventLoop(name: "test-loop")
        var configuration = Configuration()
        configuration.leaseDirectory = directory.file("leases")
        configuration.path = directory.file("vfiod.toml")
        let daemon = Daemon(
            configuration, on: loop, devices: devices,
            listener: SharedDescriptor(try listener.descriptor.duplicate()),
            notifier: try Notifier(socketPath: directory.file("notify")), logger: logger)
        group = ServiceGroup(configuration: .init(services: [.init(service: daemon)], logger: logger))
    }

    func notification() async throws -> String { try await blocking { [self] in try notifications.next() } }

    /// Runs `body` beside the daemon, and then stops the daemon gracefully.
    static func with<Value: Sendable>(
        _ body: @Sendable (RunningDaemon) async throws -> Value
    ) async throws -> Value {
        let daemon = try RunningDaemon()
        let value = try await withThrowingTaskGroup(of: Void.self) { tasks in
            tasks.addTask { try await daemon.group.run() }
            #expect(try await daemon.notification() == "READY=1\nSTATUS=Serving")
            let result: Result<Value, any Error>
            do {
                result = .success(try await body(daemon))
            } catch {
                result = .failure(error)
            }
            await daemon.group.triggerGracefulShutdown()
            try await tasks.waitForAll()
            return try result.get()
        }
        #expect(try await daemon.notification() == "STOPPING=1")
        return value
    }

    func call<Method: VfiodMethod>(_ method: Method.Type, _ parameters: Method.Parameters) async throws -> Method.Reply
    {
        try await blocking { [path] in
            var client = try VarlinkClient(path: path)
            return try client.call(Method.fullName, parameters, as: Method.Reply.self)
        }
    }

    func stream<Method: VfiodMethod>(
        _ method: Method.Type, _ parameters: Method.Parameters
    ) async throws -> [Method.Reply] {
        try await blocking { [path] in
            var client = try VarlinkClient(path: path)
            var replies: [Method.Reply] = []
            try client.stream(Method.fullName, parameters, as: Method.Reply.self) { replies.append($0) }
            return replies
        }
    }

    /// Follows the devices until that ends, and returns the error it ended with.
    func follow(_ received: Received) async throws -> VarlinkError? {
        do {
            try await blocking { [path] in
                var client = try VarlinkClient(path: path)
                try client.stream(Monitor.fullName, NoParameters(), as: Monitor.Reply.self) { received.add($0.event) }
            }
        } catch VarlinkClientError.refused(let error) {
            return error
        }
        return nil
    }

    /// The error that a call is answered with.
    func refusal<Method: VfiodMethod>(
        of method: Method.Type, _ parameters: Method.Parameters
    ) async throws -> VarlinkError? {
        do {
            _ = try await call(method, parameters)
        } catch VarlinkClientError.refused(let error) {
            return error
        }
        return nil
    }
}

/// What Monitor told.
final class Received: Sendable {
    private let events = Lock<[Wire.Event]>([])
    var all: [Wire.Event] { events.withLock { $0 } }
    func add(_ event: Wire.Event) { events.withLock { $0.append(event) } }
}

/// Runs what blocks on a thread of its own: Swift's own threads are needed to answer the calls.
func blocking<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) async throws -> Value {
    try await BlockingLane(name: "test").run(body)
}
