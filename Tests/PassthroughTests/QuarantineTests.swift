import LinuxSystem
import PCI
import SystemPackage
import TestSupport
import Testing

@testable import Passthrough

/// An e1000e that reads as all ones after its reset.
@Suite("Quarantine", .serialized) struct QuarantineTests {
    let fixture: HostFixture
    let before: [String: String]
    let whole: [UInt8]
    var fake: FakeHost { fixture.fake }
    var nic: PCIAddress { fixture.nic }

    init() async throws {
        fixture = try HostFixture()
        before = fixture.fake.settings(of: fixture.nic)
        whole = fixture.fake.bytes(fixture.nic, "config")
        _ = try await fixture.bind()
        fixture.fake.setConfig(fixture.nic, [UInt8](repeating: 0xff, count: 256))
        _ = await failure { try await fixture.reset() }
        try #require(try await fixture.state() == .quarantined)
    }

    private func isRefused<Value>(_ operation: String, _ body: () async throws -> Value) async -> Bool {
        guard case .refused(nic, operation, let blockers) = await failure(of: body) else { return false }
        return blockers.map(\.code) == [.quarantined] && blockers.first?.evidence.contains("all ones") == true
    }

    @Test("It is refused to every use, with the reason") func refused() async throws {
        let writes = fake.writes.count
        let everything = Set(BlockerCode.allCases)
        #expect(await isRefused("bind") { try await fixture.bind(consent: everything) })
        #expect(
            await isRefused("selftest") {
                try await fixture.host.withExclusive(nic, operation: "selftest", progress: { _ in }) { _ in 1 }
            })
        #expect(try await fixture.bind(dryRun: true).blockers.map(\.code) == [.quarantined])
        #expect(try await fixture.host.describe(nic).bindPlan.blockers.map(\.code) == [.quarantined])
        #expect(fake.writes.count == writes)
        // Also once somebody else has taken it from vfio-pci.
        try fake.write("\(nic)", to: fake.root + "/sys/bus/pci/drivers/vfio-pci/unbind")
        #expect(await isRefused("bind") { try await fixture.bind(consent: everything) })
        #expect(try await fixture.state() == .quarantined)
    }

    @Test("A reset that comes out well is said, and lifts nothing; Release does") func release() async throws {
        fake.setConfig(nic, whole)
        for _ in 0..<2 { _ = try await fixture.reset() }
        let reason = try #require(try await fixture.host.describe(nic).quarantine)
        #expect(reason.contains("all ones") && reason.ranges(of: "A reset since came out well.").count == 1)
        #expect(try await fixture.state() == .quarantined)
        try await fixture.host.release(nic)
        #expect(try await fixture.state() == .bound)
        #expect(try await fixture.host.describe(nic).quarantine == nil)
        #expect(try await fixture.bind().blockers.isEmpty)
        guard
            case .wrongState(nic, "bound", "quarantined", _) = await failure(of: { try await fixture.host.release(nic) }
            )
        else {
            Issue.record("released twice")
            return
        }
        _ = try await fixture.restore()
        guard
            case .wrongState(nic, "available", "quarantined", _) = await failure(of: {
                try await fixture.host.release(nic)
            })
        else {
            Issue.record("released what is not bound")
            return
        }
    }

    @Test("A release that cannot be recorded releases nothing") func unrecorded() async throws {
        fake.remove(fixture.recordPath)
        fake.set("\(fixture.recordPath)/in-the-way", "")
        guard case .kernel(nic, "record", _, _) = await failure(of: { try await fixture.host.release(nic) }) else {
            Issue.record("released without a record")
            return
        }
        #expect(try await fixture.state() == .quarantined)
    }

    @Test("Restore gives it back all the same") func restore() async throws {
        _ = try await fixture.restore()
        #expect(fake.settings(of: nic) == before && !fixture.hasRecord)
        #expect(try await fixture.state() == .available)
    }

    @Test("It outlives vfiod, and ends with a restart of the host") func restart() async throws {
        let second = try HostFixture(fake)
        let finding = try #require(try await second.host.recover().first)
        #expect(finding.outcome == .quarantined && finding.message.contains("all ones"))
        #expect(try await second.state() == .quarantined)
        try await second.host.release(nic)
        let third = try HostFixture(fake)
        #expect(try await third.host.recover().map(\.outcome) == [.bound])

        _ = await failure { try await third.reset() }
        #expect(try await third.state() == .quarantined)
        fake.set("/proc/sys/kernel/random/boot_id", "3333-4444\n")
        let fourth = try HostFixture(fake)
        #expect(try await fourth.host.recover().map(\.outcome) == [.closed])
        #expect(try await fourth.state() == .foreign)
    }

    @Test("It is not bound along with another either") func sibling() async throws {
        let other = try #require(PCIAddress("0000:00:12.0"))
        fake.addFunction(other, iommuGroup: 3)
        guard
            case .refused(other, "bind", let blockers) = await failure(of: {
                try await fixture.bind(other, members: [Consent(.siblingInUse, of: nic)])
            })
        else {
            Issue.record("bound along with a quarantined device")
            return
        }
        #expect(blockers.map(\.code) == [.quarantined])
    }
}

@Suite("A reset that vfiod did not live to end", .serialized) struct InterruptedResetTests {
    /// What the host was like after each write of a reset: what a vfiod killed there leaves behind.
    private func crashes() async throws -> [FakeHost] {
        let fixture = try HostFixture()
        _ = try await fixture.bind()
        let copies = Lock<[FakeHost]>([])
        let fake = fixture.fake
        fake.afterWrite { [weak fake] _ in
            if let copy = fake.flatMap({ try? FakeHost(copying: $0) }) { copies.withLock { $0.append(copy) } }
        }
        _ = try await fixture.reset()
        return copies.withLock { $0 }
    }

    @Test("A method that cannot be put back is said, and the device is judged all the same") func stuck() async throws {
        let copy = try #require(try await crashes().first)
        let log = HostFixture.Lines()
        let after = try HostFixture(copy, log: log)
        copy.failWrite(1, with: .ioError)
        _ = try await after.host.recover()
        await after.host.settled(after.nic)
        #expect(log.all.contains { $0.hasPrefix("error: reset of") && $0.contains("reset_method") })
        #expect(try await after.state() == .bound)
    }

    @Test("Siblings stay bound with a device whose reset was interrupted") func siblings() async throws {
        let fixture = try HostFixture()
        let (fake, sibling) = (fixture.fake, try #require(PCIAddress("0000:03:03.0")))
        fake.addDriver("e1000", matching: [sibling])
        fake.addFunction(sibling, device: 0x100e, driver: "e1000", iommuGroup: 3)
        _ = try await fixture.bind(members: [Consent(.siblingInUse, of: sibling)])
        let record = try #require(fake.content(fixture.recordPath))
        fake.set(fixture.recordPath, record.replacing("\"bound\"", with: "\"resetting\""))
        let second = try HostFixture(fake)
        #expect(try await second.host.recover().map(\.outcome) == [.judging, .bound])
        await second.host.settled(fixture.nic)
        #expect(try await second.state(sibling) == .bound)
        #expect(fake.driver(of: sibling) == "vfio-pci")
    }
}
