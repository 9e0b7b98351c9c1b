import CLinux
import LinuxSystem
import Logging
import PCI
import SystemPackage
import TestSupport
import Testing

@testable import Passthrough

/// A fake host with three devices that vfiod has bound, two of them in one IOMMU group, over a fake VFIO.
struct LeaseFixture {
    let fake: FakeHost
    let kernel = FakeKernel()
    let vfio = FakeVFIO()
    let device: FakeVFIODevice
    let neighbour: FakeVFIODevice
    let clock = ManualClock()
    let host: PassthroughHost
    let nic: PCIAddress
    let other: PCIAddress
    let apart: PCIAddress
    let log = HostFixture.Lines()
    let endpoints = Endpoints()
    private let loop: EventLoop

    static let owner = LeaseOwner(user: 1000)
    static let stranger = LeaseOwner(user: 1001)
    static let peer = SessionPeer(processID: 77, user: 1000, group: 1000)

    /// The sockets that there would be.
    final class Endpoints: LeaseEndpoints {
        private let open = Lock<[PCIAddress: LeaseOwner]>([:])
        private let failure = Lock<KernelError?>(nil)
        let seen = Lock<@Sendable () -> Void>({})

        var all: [PCIAddress: LeaseOwner] { open.withLock { $0 } }
        func fail(_ error: KernelError) { failure.withLock { $0 = error } }
        func open(
            _ address: PCIAddress, at path: String, for owner: LeaseOwner, _ mode: LeaseMode,
            mapsBARs: Bool
        ) async throws(KernelError) {
            seen.withLock { $0 }()
            if let error = failure.withLock({ $0 }) { throw error }
            open.withLock { $0[address] = owner }
        }
        func close(_ address: PCIAddress) async { open.withLock { $0[address] = nil } }
    }

    /// What somebody else has open.
    private let elsewhere: SharedDescriptor?

    /// `existing`: a host that an earlier vfiod has left, with its records. `before`: what somebody else opens first. `like`
    /// says what the devices are like. `stops` gets the stop points.
    init(
        _ existing: FakeHost? = nil, canReset: Bool = true, before: ((FakeKernel) throws -> OwnedDescriptor)? = nil,
        like: (inout FakeVFIODevice.Configuration) -> Void = { _ in },
        stops: @escaping @Sendable (StopPoint) -> Void = { _ in }
    ) async throws {
        nic = try #require(PCIAddress("0000:00:11.0"))
        other = try #require(PCIAddress("0000:00:11.1"))
        apart = try #require(PCIAddress("0000:00:12.0"))
        fake = try existing ?? FakeHost()
        if existing == nil {
            for (address, group) in [(nic, 3), (other, 3), (apart, 4)] {
                fake.addFunction(address, iommuGroup: group)
                fake.set(address, "reset_method", canReset ? "flr\n" : "\n")
            }
        }
        var configuration = FakeVFIODevice.Configuration(intxCount: 1, msiCount: 1, msixCount: 5)
        configuration.canReset = canReset
        configuration.bars = [0: [UInt8](repeating: 0, count: 4096)]
        like(&configuration)
        device = FakeVFIODevice("\(nic)", configuration)
        neighbour = FakeVFIODevice("\(other)", configuration)
        vfio.add(device, iommuGroup: 3)
        vfio.add(neighbour, iommuGroup: 3)
        vfio.add(FakeVFIODevice("\(apart)", configuration), iommuGroup: 4)
        kernel.install(vfio, at: "/dev/vfio/")
        if let before { elsewhere = SharedDescriptor(try before(kernel)) } else { elsewhere = nil }
        loop = try EventLoop(name: "test-loop")
        host = try PassthroughHost(
            PassthroughHost.Configuration(root: HostRoot(path: fake.root), stateDirectory: fake.stateDirectory),
            on: loop, uevents: try fake.uevents.listen(), writer: fake, kernel: kernel, clock: clock,
            interfaceAddresses: { [] }, stops: stops,
            logger: Logger(label: "test") { [log] _ in LineLog(lines: log) })
        _ = try await host.recover()
        await host.serveLeases(through: endpoints)
        if existing == nil {
            for address in [nic, other, apart] {
                _ = try await host.bind(address, consent: [], dryRun: false) { _ in }
            }
        }
    }

    func stop() { loop.stop() }

    @discardableResult
    func attach(
        _ address: PCIAddress? = nil, to owner: LeaseOwner = LeaseFixture.owner, consent: Set<Consent> = []
    ) async throws -> Lease? {
        try await host.attach(address ?? nic, to: owner, .descriptors, consent: consent, dryRun: false).lease
    }

    func detach(_ address: PCIAddress? = nil) async throws {
        _ = try await host.detach(address ?? nic, dryRun: false) { _ in }
    }

    func begin(_ address: PCIAddress? = nil) async throws -> any DeviceSession {
        try await host.beginSession(address ?? nic, for: LeaseFixture.peer) {}
    }

    func state(_ address: PCIAddress? = nil) async -> LeasedDevice? {
        await host.leases().flatMap(\.devices).first { $0.address == address ?? nic }
    }

    /// The steps that the log tells of, with what came of each.
    var steps: [String] {
        log.all.compactMap { line in
            guard line.contains("event=session-step"), let step = field("step", line),
                let result = field("result", line)
            else { return nil }
            return result == "done" ? step : "\(step) failed" + (field("errno", line).map { " " + $0 } ?? "")
        }
    }

    private func field(_ name: String, _ line: String) -> String? {
        line.split(separator: " ").first { $0.hasPrefix("\(name)=") }.map { String($0.dropFirst(name.count + 1)) }
    }

    func codes(_ error: PassthroughError?) -> [BlockerCode] {
        guard case .refused(_, _, let blockers) = error else { return [] }
        return blockers.map(\.code)
    }

    /// Moves the clock until the condition holds.
    func advance(until condition: () async -> Bool) async {
        while await !condition() {
            clock.advance(by: .seconds(2))
            try? await Task.sleep(for: .milliseconds(1))
        }
    }
}

/// The one error a session's call threw.
func sessionFailure<Value>(of body: () async throws -> Value) async -> LeaseError? {
    do {
        _ = try await body()
        return nil
    } catch {
        return error as? LeaseError
    }
}
