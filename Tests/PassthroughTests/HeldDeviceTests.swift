import LinuxSystem
import PCI
import TestSupport
import Testing

@testable import Passthrough

@Suite("A device that a process holds", .serialized) struct HeldDeviceTests {
    let fixture: HostFixture
    let before: [String: String]
    var fake: FakeHost { fixture.fake }
    var nic: PCIAddress { fixture.nic }

    init() async throws {
        fixture = try HostFixture()
        before = fixture.fake.settings(of: fixture.nic)
        _ = try await fixture.bind()
        fixture.fake.addProcess(77, command: "holder", open: ["/dev/null", "/dev/vfio/vfio", "/dev/vfio/3"])
        try fixture.fake.hold(fixture.nic)
    }

    /// Begins a restore and moves time until it gives up waiting.
    private func restoreUntilDeadline() async -> PassthroughError? {
        let fixture = fixture
        let outcome = Eventual<PassthroughError?>()
        Task { outcome.resolve(await failure { try await fixture.restore() }) }
        await fixture.wait { fake.isBlocked(nic) }
        await fixture.advance { await outcome.value(within: .zero, on: ContinuousClock()) != nil }
        return await outcome.value()
    }

    @Test("Restore of a held device names the holder, goes on, and ends when the holder goes") func held() async throws
    {
        let error = await restoreUntilDeadline()
        guard case .stillRunning(nic, "restore", "unbind", let cause) = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(cause.contains("process 77 (holder)"))
        #expect(fixture.lines.all.contains { $0.contains("process 77 (holder)") })
        #expect(try await fixture.state() == .busy)
        let operation = try #require(try await fixture.host.describe(nic).operation)
        #expect(operation.name == "restore")
        #expect(operation.step == "unbind")
        #expect(operation.note?.contains("process 77 (holder)") == true)
        let said = fixture.lines.all.count
        try fake.release(nic)
        await fixture.host.settled(nic)
        #expect(fixture.lines.all.count == said)
        #expect(fake.settings(of: nic) == before)
        #expect(!fixture.hasRecord)
        #expect(try await fixture.state() == .available)
    }

    @Test("Meanwhile the device is busy, other devices are not, and no read waits for it") func others() async throws {
        _ = await restoreUntilDeadline()
        guard case .busy(nic, "restore", "unbind") = await failure(of: { try await fixture.bind() }),
            case .busy(nic, "restore", "unbind") = await failure(of: { try await fixture.restore() })
        else {
            Issue.record("a second operation on the device")
            return
        }
        let other = try #require(PCIAddress("0000:00:10.0"))
        fake.addFunction(other, iommuGroup: 9)
        _ = try await fixture.bind(other)
        #expect(fake.driver(of: other) == "vfio-pci")
        #expect(try await fixture.host.list().count == 2)
        #expect(try await fixture.host.describe(nic).live.driverOverride == nil)
        #expect(fake.readsWhileLocked == 0)
        try fake.release(nic)
        await fixture.host.settled(nic)
        #expect(fake.settings(of: nic) == before)
    }

    @Test("A dry run of Restore says who holds the device") func dryRun() async throws {
        let blockers = try await fixture.restore(dryRun: true).blockers
        #expect(blockers.map(\.code) == [.held])
        #expect(blockers.first?.message.contains("77") == true)
    }

    @Test("What needs the device for itself is refused while it is held") func exclusive() async throws {
        let error = await failure {
            try await fixture.host.withExclusive(nic, operation: "selftest", progress: { _ in }) { _ in 1 }
        }
        guard case .refused(nic, "selftest", let blockers) = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(blockers.map(\.code) == [.held])
        #expect(try await fixture.state() == .bound)
    }
}

@Suite("Exclusive use", .serialized) struct ExclusiveUseTests {
    @Test("A bound device is busy while its one user runs, and bound again after") func exclusive() async throws {
        let fixture = try HostFixture()
        let nic = fixture.nic
        guard case .wrongState(nic, "available", "bound", _) = await failure(of: { try await use(fixture) }) else {
            Issue.record("use of what is not bound")
            return
        }
        _ = try await fixture.bind()
        let (entered, gate) = (Eventual<Bool>(), try EventFD())
        async let value = use(fixture) { operation in
            operation.begin("work", "working")
            entered.resolve(true)
            gate.wait()
            return 42
        }
        _ = await entered.value()
        guard case .busy(nic, "selftest", "work") = await failure(of: { try await fixture.restore() }) else {
            Issue.record("a restore during the use")
            return
        }
        try gate.signal()
        #expect(try await value == 42)
        #expect(try await fixture.state() == .bound)
        #expect(fixture.lines.all.last == "working")
    }

    @Test("What the user throws comes out, and the device stays bound") func failing() async throws {
        let fixture = try HostFixture()
        _ = try await fixture.bind()
        let error = await failure {
            try await use(fixture) { _ throws(PassthroughError) in throw .deviceNotFound("none") }
        }
        guard case .deviceNotFound("none") = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(try await fixture.state() == .bound)
        #expect(fixture.hasRecord)
    }

    private func use(
        _ fixture: HostFixture,
        _ body: @escaping @Sendable (RunningOperation) throws(PassthroughError) -> Int = { _ in 1 }
    ) async throws -> Int {
        try await fixture.host.withExclusive(fixture.nic, operation: "selftest", progress: fixture.progress, body)
    }
}
