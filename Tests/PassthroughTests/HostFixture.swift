import LinuxSystem
import Logging
import PCI
import TestSupport
import Testing

@testable import Passthrough

/// A fake host with an e1000e and what is needed to take it, and a passthrough host over it.
struct HostFixture {
    let fake: FakeHost
    let clock = ManualClock()
    let host: PassthroughHost
    let nic: PCIAddress
    let lines = Lines()
    private let loop: RunningLoop

    /// Progress as it was said.
    final class Lines: Sendable {
        private let said = Lock<[String]>([])
        var all: [String] { said.withLock { $0 } }
        func add(_ line: String) { said.withLock { $0.append(line) } }
    }

    /// An event loop that ends with the fixture.
    private final class RunningLoop: Sendable {
        let loop: EventLoop
        init() throws { loop = try EventLoop(name: "test-loop") }
        deinit { loop.stop() }
    }

    /// `files` stand between the host and its sysfs; `log` gets the lines that are logged; `stops` the stop points.
    init(
        _ existing: FakeHost? = nil, addresses: [InterfaceAddress] = [], files: any FileReading = LiveFiles(),
        log: Lines? = nil, names: NamedDevices = NamedDevices(), kernel: any Kernel = LiveKernel(),
        stops: @escaping @Sendable (StopPoint) -> Void = { _ in }
    ) throws {
        nic = try #require(PCIAddress("0000:00:11.0"))
        if let existing {
            fake = existing
        } else {
            fake = try FakeHost()
            fake.addDriver("e1000e", matching: [nic])
            fake.addFunction(nic, driver: "e1000e", iommuGroup: 3)
        }
        loop = try RunningLoop()
        host = try PassthroughHost(
            PassthroughHost.Configuration(
                root: HostRoot(path: fake.root, files: files), stateDirectory: fake.stateDirectory, names: names,
                stepDeadline: .seconds(10),
                watchInterval: .seconds(1), retryInterval: .seconds(5)),
            on: loop.loop, uevents: try fake.uevents.listen(), writer: fake, kernel: kernel, clock: clock,
            interfaceAddresses: { addresses }, stops: stops, logger: Logger(label: "test") { _ in LineLog(lines: log) })
    }

    var progress: ProgressReport { { [lines] in lines.add($0) } }

    /// `consent` is about the device itself, `members` about others of its IOMMU group.
    func bind(
        _ address: PCIAddress? = nil, consent: Set<BlockerCode> = [], members: Set<Consent> = [], dryRun: Bool = false
    ) async throws -> Plan {
        let all = members.union(consent.map { Consent($0) })
        return try await host.bind(address ?? nic, consent: all, dryRun: dryRun, progress: progress)
    }

    func restore(_ address: PCIAddress? = nil, dryRun: Bool = false) async throws -> Plan {
        try await host.restore(address ?? nic, dryRun: dryRun, progress: progress)
    }

    func reset(
        _ address: PCIAddress? = nil, method: String? = nil, consent: Set<Consent> = [], dryRun: Bool = false
    ) async throws -> Plan {
        try await host.reset(address ?? nic, method: method, consent: consent, dryRun: dryRun, progress: progress)
    }

    func state(_ address: PCIAddress? = nil) async throws -> DeviceState? {
        try await host.list().first { $0.address == address ?? nic }?.state
    }

    func device(_ address: PCIAddress? = nil) async throws -> DeviceSummary? {
        try await host.list().first { $0.address == address ?? nic }
    }

    var recordPath: String { "/var/lib/vfiod/\(nic).json" }
    var hasRecord: Bool { fake.content(recordPath) != nil }

    /// Moves the clock until the condition holds.
    func advance(until condition: () async -> Bool) async {
        while await !condition() {
            clock.advance(by: .seconds(10))
            try? await Task.sleep(for: .milliseconds(1))
        }
    }

    /// Looks again and again, leaving the processor to what it waits for.
    func wait(until condition: () async -> Bool) async {
        while await !condition() { try? await Task.sleep(for: .milliseconds(1)) }
    }
}

/// The one error a call threw.
func failure<Value>(of body: () async throws -> Value) async -> PassthroughError? {
    do {
        _ = try await body()
        return nil
    } catch {
        return error as? PassthroughError
    }
}

/// A log that keeps its lines, or drops them.
struct LineLog: LogHandler {
    let lines: HostFixture.Lines?
    var logLevel = Logger.Level.trace
    var metadata: Logger.Metadata = [:]

    init(lines: HostFixture.Lines?) { self.lines = lines }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        let fields = (event.metadata ?? [:]).sorted { $0.key < $1.key }.map { " \($0)=\($1)" }.joined()
        lines?.add("\(event.level): \(event.message)\(fields)")
    }
}
