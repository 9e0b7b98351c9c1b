import LinuxSystem
import PCI
import SystemPackage
import TestSupport
import Testing

@testable import Passthrough

/// A network card that vfiod has bound, and of which vfio-pci makes virtual functions.
@Suite("Virtual functions of a bound device", .serialized) struct PartTests {
    let fixture: HostFixture
    let kernel = FakeKernel()
    let vfio = FakeVFIO()
    let functions: [PCIAddress]
    let before: [String: String]
    var fake: FakeHost { fixture.fake }
    var nic: PCIAddress { fixture.nic }

    init() async throws {
        fixture = try HostFixture(kernel: kernel)
        functions = (0..<7).compactMap(FakeHost.virtualFunction)
        fixture.fake.makePhysical(fixture.nic)
        fixture.fake.addDriver("igbvf", matching: Set(functions))
        before = fixture.fake.settings(of: fixture.nic)
        vfio.add(FakeVFIODevice("\(fixture.nic)", .init(msixCount: 1)), iommuGroup: 3)
        for (number, function) in functions.enumerated() {
            vfio.add(FakeVFIODevice("\(function)", .init(msixCount: 1)), iommuGroup: 100 + number)
            vfio.makeVirtual("\(function)", of: "\(fixture.nic)")
        }
        kernel.install(vfio, at: "/dev/vfio/")
        allow(true)
        _ = try await fixture.bind()
    }

    private func allow(_ isAllowed: Bool) {
        fake.set("/sys/module/vfio_pci/parameters/enable_sriov", isAllowed ? "Y\n" : "N\n")
    }

    private func make(
        _ count: Int, by host: PassthroughHost? = nil, dryRun: Bool = false
    ) async throws -> Plan {
        try await (host ?? fixture.host).setVirtualFunctions(
            nic, to: count, consent: [], dryRun: dryRun, progress: fixture.progress)
    }

    private var count: String? { fake.settings(of: nic)["sriov_numvfs"] }

    private func codes(_ error: PassthroughError?) -> [BlockerCode] {
        guard case .refused(_, _, let blockers) = error else { return [] }
        return blockers.map(\.code)
    }

    @Test("vfio-pci makes them, vfiod opens them with its token, and they go before the device does")
    func whole() async throws {
        #expect(try await make(3, dryRun: true).blockers.isEmpty)
        #expect(count == "0\n")
        _ = try await make(3)
        #expect(count == "3\n" && fake.driver(of: nic) == "vfio-pci")
        #expect(try await fixture.state() == .bound)
        #expect(functions.prefix(3).allSatisfy { fake.driver(of: $0) == "vfio-pci" })
        // They are there to be bound, and not in somebody else's hands.
        #expect(try await fixture.state(functions[0]) == .available)
        #expect(kernel.openFileCount == 0)
        let one = functions[1]
        _ = try await fixture.bind(one)
        let endpoints = LeaseFixture.Endpoints()
        await fixture.host.serveLeases(through: endpoints)
        for device in [nic, one] {
            fake.set(device, "reset_method", "flr\n")
            _ = try await fixture.host.attach(device, to: LeaseFixture.owner, .descriptors, consent: [], dryRun: false)
            _ = try await fixture.host.beginSession(device, for: LeaseFixture.peer) {}
        }
        #expect(codes(await failure { try await make(1) }).contains(.leased))
        for device in [one, nic] { _ = try await fixture.host.detach(device, dryRun: false) { _ in } }
        let refusal = await failure { try await fixture.restore() }
        #expect(codes(refusal) == [.virtualFunctionBound])
        #expect(codes(await failure { try await fixture.reset() }) == [.virtualFunctionBound])
        #expect(codes(await failure { try await make(0) }) == [.virtualFunctionBound])
        _ = try await fixture.restore(one)
        #expect(fake.settings(of: one)["driver_override"] == "vfio-pci\n" && fake.driver(of: one) == "vfio-pci")
        #expect(try await fixture.state(one) == .available)
        #expect(try await fixture.restore(dryRun: true).steps.first?.target.hasSuffix("/sriov_numvfs") == true)
        fake.set(nic, "reset_method", before["reset_method"] ?? "")
        _ = try await fixture.restore()
        #expect(fake.settings(of: nic) == before)
        #expect(!fixture.hasRecord)
    }

    @Test("Other numbers, and none, need no Restore") func again() async throws {
        _ = try await make(2)
        let writes = fake.writes.count
        #expect(try await make(2) == Plan(steps: [], blockers: []))
        #expect(fake.writes.count == writes)
        _ = try await make(5)
        #expect(count == "5\n")
        _ = try await make(0)
        #expect(count == "0\n")
        #expect(try await fixture.state() == .bound)
        _ = try await fixture.restore()
        #expect(fake.settings(of: nic) == before)
    }

    @Test("What cannot be is refused, and nothing is written") func refusals() async throws {
        allow(false)
        let writes = fake.writes.count
        let error = await failure { try await make(1) }
        guard case .refused(nic, "virtual-functions", let blockers) = error, let blocker = blockers.first else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(blockers.map(\.code) == [.vfioSRIOVOff])
        #expect(blocker.evidence.hasSuffix("enable_sriov: N") && blocker.consent == nil)
        #expect(codes(await failure { try await make(8) }) == [.tooManyVirtualFunctions, .vfioSRIOVOff])
        allow(true)
        // Somebody has it open.
        let group = try kernel.open("/dev/vfio/3", .readWrite)
        #expect(codes(await failure { try await make(1) }) == [.held])
        _ = consume group
        #expect(fake.writes.count == writes)
        _ = try await make(1)
    }

    @Test("What the kernel refuses leaves the device bound, with as many as before", arguments: [0, 2], 0...2)
    func refused(earlier: Int, number: Int) async throws {
        if earlier > 0 { _ = try await make(earlier) }
        let steps = ["open", earlier > 0 ? "sriov_numvfs" : "sriov_drivers_autoprobe", "sriov_numvfs"]
        if number == 0 {
            kernel.refuse("VFIO_GROUP_GET_DEVICE_FD", with: .ioError)
        } else {
            fake.failWrite(number, with: .resourceBusy)
        }
        let error = await failure { try await make(4) }
        guard case .kernel(nic, let step, let cause, _) = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(step == steps[number] && cause.errno == (number == 0 ? .ioError : .resourceBusy))
        #expect(count == "\(earlier)\n")
        #expect(try await fixture.state() == .bound)
        _ = try await make(4)
        _ = try await fixture.restore()
        #expect(fake.settings(of: nic) == before)
    }

    @Test("Killed at any stop point, the device stays bound, with as many as before or as asked", arguments: [0, 2])
    func killed(earlier: Int) async throws {
        if earlier > 0 { _ = try await make(earlier) }
        let crashes = Lock<[(point: StopPoint, host: FakeHost)]>([])
        let next = try HostFixture(
            fake, kernel: kernel,
            stops: { [weak fake] point in
                guard let copy = fake.flatMap({ try? FakeHost(copying: $0) }) else { return }
                crashes.withLock { $0.append((point, copy)) }
            })
        _ = try await next.host.recover()
        _ = try await make(4, by: next.host)
        let crashed = crashes.withLock { $0 }
        #expect(Set(crashed.map(\.point.step)).isSuperset(of: [.record, .open, .virtualFunctions, .bound]))
        for (point, copy) in crashed {
            let after = try HostFixture(copy, kernel: kernel)
            let outcomes = try await after.host.recover().map(\.outcome)
            await after.host.settled(nic)
            let isDone = point.step == .bound && point.moment == .after
            let isUntouched = point.step == .record && point.moment == .before
            #expect(outcomes == [isDone || isUntouched ? .bound : .rollingBack], "\(point)")
            #expect(copy.driver(of: nic) == "vfio-pci", "\(point)")
            #expect(copy.settings(of: nic)["sriov_numvfs"] == (isDone ? "4\n" : "\(earlier)\n"), "\(point)")
            #expect(try await after.state() == .bound, "\(point)")
            _ = try await after.restore()
            #expect(copy.settings(of: nic) == before, "\(point)")
            #expect(!after.hasRecord, "\(point)")
        }
    }

    @Test("A virtual function of what others bound does not open, and the error says why") func foreign() async throws {
        _ = try await make(1)
        _ = try await fixture.bind(functions[0])
        // Another process has chosen a token since.
        vfio.makeVirtual("\(functions[0])", of: "0000:09:00.0")
        await fixture.host.serveLeases(through: LeaseFixture.Endpoints())
        fake.set(functions[0], "reset_method", "flr\n")
        _ = try await fixture.host.attach(
            functions[0], to: LeaseFixture.owner, .descriptors, consent: [], dryRun: false)
        let error = await sessionFailure {
            try await fixture.host.beginSession(functions[0], for: LeaseFixture.peer) {}
        }
        guard case .kernel(_, let cause) = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(cause.call == "VFIO_GROUP_GET_DEVICE_FD" && cause.errno == .permissionDenied)
        #expect(cause.vfioOpenHint.contains("token"))
    }
}
