import InterruptSources
import LinuxSystem
import PCI
import SystemPackage
import TestSupport
import Testing

@testable import Passthrough

@Suite("Leases")
struct LeaseTests {
    @Test("a lease is in the device's record before there is a socket, and gone from both after Detach")
    func recordFirst() async throws {
        let host = try await LeaseFixture()
        defer { host.stop() }
        let path = "/var/lib/vfiod/\(host.nic).json"
        let recorded = Lock(false)
        host.endpoints.seen.withLock { seen in
            seen = { [fake = host.fake] in
                recorded.withLock { $0 = fake.content(path)?.contains("\"user\" : 1000") ?? false }
            }
        }
        let lease = try #require(try await host.attach())
        #expect(recorded.withLock { $0 })
        #expect(lease.iommuGroup == 3 && lease.owner == LeaseFixture.owner && lease.mode == .descriptors)
        #expect(lease.devices.map(\.socketPath) == ["/run/vfiod/leases/0000:00:11.0"])
        #expect(lease.devices.map(\.state) == [.idle])
        #expect(host.endpoints.all == [host.nic: LeaseFixture.owner])
        try await host.detach()
        #expect(host.endpoints.all.isEmpty)
        #expect(await host.host.leases().isEmpty)
        #expect(host.fake.content(path)?.contains("lease") == false)
    }

    @Test("attaching again to the same owner does nothing; detaching what is given to nobody is an error")
    func twice() async throws {
        let host = try await LeaseFixture()
        defer { host.stop() }
        try await host.attach()
        let again = try await host.host.attach(
            host.nic, to: LeaseFixture.owner, .descriptors, consent: [], dryRun: false)
        #expect(again.plan.steps.isEmpty && again.lease?.devices.count == 1)
        guard case .wrongState(_, "bound", "leased", _) = await failure(of: { try await host.detach(host.other) })
        else {
            Issue.record("detached what nobody had")
            return
        }
    }

    @Test("a second device of the IOMMU group joins the same owner's lease, and is refused to another, without consent")
    func oneOwner() async throws {
        let host = try await LeaseFixture()
        defer { host.stop() }
        try await host.attach()
        let refused = await failure { try await host.attach(host.other, to: LeaseFixture.stranger) }
        #expect(host.codes(refused) == [.leased])
        #expect(!BlockerCode.leased.allowsConsent)
        #expect(await host.host.leases().map(\.devices.count) == [1])
        let lease = try await host.attach(host.other)
        #expect(lease?.devices.map(\.address) == [host.nic, host.other])
        // Another IOMMU group is nobody's yet.
        try await host.attach(host.apart, to: LeaseFixture.stranger)
        #expect(await host.host.leases().map(\.owner) == [LeaseFixture.owner, LeaseFixture.stranger])
        // The device itself, to another owner.
        #expect(host.codes(await failure { try await host.attach(to: LeaseFixture.stranger) }) == [.leased, .leased])
    }

    @Test("two owners who come at once: one gets the IOMMU group")
    func race() async throws {
        let host = try await LeaseFixture()
        defer { host.stop() }
        async let first = failure { try await host.attach(host.nic, to: LeaseFixture.owner) }
        async let second = failure { try await host.attach(host.other, to: LeaseFixture.stranger) }
        let errors = await [first, second]
        #expect(errors.filter { $0 == nil }.count == 1)
        #expect(await host.host.leases().count == 1)
    }

    @Test("a plan changes nothing and says what stands against it")
    func plan() async throws {
        let host = try await LeaseFixture()
        defer { host.stop() }
        let before = host.fake.content("/var/lib/vfiod/\(host.nic).json")
        let plan = try await host.host.plan(.attach, host.nic)
        #expect(plan.steps.map(\.action) == ["record", "listen"] && plan.blockers.isEmpty)
        #expect(host.fake.content("/var/lib/vfiod/\(host.nic).json") == before)
        try await host.attach(host.other)
        #expect(try await host.host.plan(.attach, host.nic).blockers.map(\.code) == [.leased])
        let end = try await host.host.detach(host.other, dryRun: true) { _ in }
        #expect(end.steps.map(\.action) == ["close", "record"])
        #expect(await host.host.leases().count == 1)
    }

    @Test("Restore and SelfTest of a leased device, and of its siblings, are refused until Detach")
    func otherOperations() async throws {
        let host = try await LeaseFixture()
        defer { host.stop() }
        try await host.attach()
        for address in [host.nic, host.other] {
            let restore = await failure { try await host.host.restore(address, dryRun: false) { _ in } }
            #expect(host.codes(restore) == [.leased])
            let request = SelfTestRequest(types: [.msix], vectors: nil, count: 1, fault: nil)
            let test = await failure { try await host.host.selfTest(address, request) { _ in } }
            #expect(host.codes(test) == [.leased])
            #expect(try await host.host.plan(.restore, address).blockers.map(\.code) == [.leased])
        }
        try await host.detach()
        _ = try await host.host.restore(host.nic, dryRun: false) { _ in }
        #expect(host.fake.driver(of: host.nic) == nil)
    }

    @Test("what is not bound cannot be given away; a sibling that came to a host driver stands against it")
    func notBoundOrDrifted() async throws {
        let host = try await LeaseFixture()
        defer { host.stop() }
        _ = try await host.host.restore(host.other, dryRun: false) { _ in }
        guard case .wrongState(_, "available", "bound", _) = await failure(of: { try await host.attach(host.other) })
        else {
            Issue.record("attached what is not bound")
            return
        }
        host.fake.addDriver("e1000e", matching: [host.other])
        try host.fake.write("\(host.other)", to: host.fake.root + "/sys/bus/pci/drivers_probe")
        _ = try await host.host.list()
        while await failure(of: { try await host.attach() }) == nil {
            try await host.detach()
            try await Task.sleep(for: .milliseconds(1))
        }
        #expect(host.codes(await failure { try await host.attach() }) == [.drift])
    }

    @Test("a device that somebody holds is not given away")
    func heldBefore() async throws {
        let host = try await LeaseFixture()
        defer { host.stop() }
        host.fake.addProcess(42, command: "qemu", open: ["/dev/vfio/3"])
        let group = try host.kernel.open("/dev/vfio/3", .readWrite)
        let refused = await failure { try await host.attach() }
        #expect(host.codes(refused) == [.held])
        _ = consume group
        try await host.attach()
    }

    @Test("without a reset, another owner needs consent; the last one does not")
    func noReset() async throws {
        let host = try await LeaseFixture(canReset: false)
        defer { host.stop() }
        try await host.attach()
        try await host.detach()
        try await host.attach()
        try await host.detach()
        #expect(host.codes(await failure { try await host.attach(to: LeaseFixture.stranger) }) == [.noReset])
        try await host.attach(to: LeaseFixture.stranger, consent: [Consent(.noReset)])
    }

    @Test("a lease outlives vfiod, and ends with the boot")
    func restart() async throws {
        let first = try await LeaseFixture()
        try await first.attach(to: LeaseOwner(user: 1000, group: 36))
        first.stop()
        let second = try await LeaseFixture(first.fake)
        defer { second.stop() }
        #expect(second.endpoints.all == [second.nic: LeaseOwner(user: 1000, group: 36)])
        #expect(await second.state()?.state == .idle)
        _ = try await second.begin()
        await second.host.endSessions()
        second.fake.set("/proc/sys/kernel/random/boot_id", "3333-4444\n")
        let third = try await LeaseFixture(second.fake)
        defer { third.stop() }
        #expect(third.endpoints.all.isEmpty)
        #expect(await third.host.leases().isEmpty)
    }

    @Test("a device that somebody kept from a session of an earlier vfiod is held after the restart")
    func restartHeld() async throws {
        let first = try await LeaseFixture()
        try await first.attach()
        first.stop()
        first.fake.addProcess(42, command: "keeper", open: ["/dev/vfio/3"])
        let second = try await LeaseFixture(
            first.fake,
            before: { kernel in
                try kernel.open("/dev/vfio/3", .readWrite)
            })
        defer { second.stop() }
        let state = try #require(await second.state())
        #expect(state.state == .held && state.holders.map(\.processID) == [42])
        guard case .notReady(_, "held", _) = await sessionFailure(of: { try await second.begin() }) else {
            Issue.record("a session of a held device began")
            return
        }
    }

    @Test("a socket that cannot be made leaves no lease")
    func noSocket() async throws {
        let host = try await LeaseFixture()
        defer { host.stop() }
        host.endpoints.fail(KernelError("bind", on: "/run/vfiod/leases", .noSpace))
        guard case .kernel(_, "listen", let error, _) = await failure(of: { try await host.attach() }) else {
            Issue.record("attached without a socket")
            return
        }
        #expect(error.errno == .noSpace)
        #expect(await host.host.leases().isEmpty)
        #expect(host.fake.content("/var/lib/vfiod/\(host.nic).json")?.contains("lease") == false)
    }
}
