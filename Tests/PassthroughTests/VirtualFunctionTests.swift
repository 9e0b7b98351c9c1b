import LinuxSystem
import PCI
import SystemPackage
import TestSupport
import Testing

@testable import Passthrough

@Suite("Virtual functions", .serialized) struct VirtualFunctionTests {
    let fixture: HostFixture
    let functions: [PCIAddress]
    var fake: FakeHost { fixture.fake }
    /// The physical function.
    var nic: PCIAddress { fixture.nic }

    init() throws {
        fixture = try HostFixture()
        functions = (0..<7).compactMap(FakeHost.virtualFunction)
        fixture.fake.makePhysical(fixture.nic)
        fixture.fake.addDriver("igbvf", matching: Set(functions))
    }

    private func make(_ count: Int, consent: Set<Consent> = [], dryRun: Bool = false) async throws -> Plan {
        try await fixture.host.setVirtualFunctions(
            nic, to: count, consent: consent, dryRun: dryRun, progress: fixture.progress)
    }

    /// Those that the daemon lists as the device's.
    private func listed() async throws -> [PCIAddress] {
        let all = Set(try await fixture.host.list().map(\.address))
        return functions.filter(all.contains)
    }

    private var writes: [String] {
        fake.writes.map { "\($0.attribute.split(separator: "/").last ?? "") \($0.value)" }
    }

    @Test("They are made with the host's drivers kept away, bound one by one, and gone after Restore")
    func whole() async throws {
        let before = fake.settings(of: nic)
        let plan = try await make(7)
        #expect(plan.blockers.isEmpty)
        #expect(plan.steps.map(\.value) == ["0", "7", "7"])
        #expect(writes == ["sriov_drivers_autoprobe 0", "sriov_numvfs 7"])
        #expect(fake.driver(of: nic) == "e1000e")
        #expect(functions.allSatisfy { fake.driver(of: $0) == nil })
        #expect(try await listed() == functions)
        #expect(try await fixture.host.describe(nic).recorded?["sriov_numvfs"] == "0")
        _ = try await fixture.bind(functions[2])
        #expect(fake.driver(of: functions[2]) == "vfio-pci")
        let refusal = await failure { try await fixture.restore() }
        guard case .refused(nic, "restore", let blockers) = refusal else {
            Issue.record("\(String(describing: refusal))")
            return
        }
        #expect(blockers.map(\.code) == [.virtualFunctionBound] && blockers.map(\.member) == [functions[2]])
        _ = try await fixture.restore(functions[2])
        let restore = try await fixture.restore(dryRun: true)
        #expect(restore.steps.map(\.value) == ["0", "1", "0"])
        _ = try await fixture.restore()
        #expect(fake.settings(of: nic) == before)
        #expect(try await listed().isEmpty)
        #expect(!fixture.hasRecord)
    }

    @Test("Those that there were come back to their drivers") func earlier() async throws {
        try fake.write("2", to: "\(fake.root)/sys/bus/pci/devices/\(nic)/sriov_numvfs")
        let before = fake.settings(of: nic)
        #expect(fake.driver(of: functions[1]) == "igbvf")
        _ = try await make(5)
        #expect(fake.driver(of: functions[1]) == nil)
        _ = try await fixture.restore()
        #expect(fake.settings(of: nic) == before)
        #expect(functions.prefix(2).allSatisfy { fake.driver(of: $0) == "igbvf" })
        #expect(try await listed() == Array(functions.prefix(2)))
    }

    @Test("As many as there are is nothing to do, and other numbers need a Restore first") func again() async throws {
        #expect(try await make(0) == Plan(steps: [], blockers: []))
        #expect(!fixture.hasRecord)
        _ = try await make(3)
        let writes = fake.writes.count
        #expect(try await make(3) == Plan(steps: [], blockers: []))
        for count in [0, 4] {
            guard case .wrongState(nic, "created", _, _) = await failure(of: { try await make(count) }) else {
                Issue.record("\(count) was not refused")
                return
            }
        }
        guard case .wrongState(nic, "created", _, _) = await failure(of: { try await fixture.bind() }) else {
            Issue.record("bind was not refused")
            return
        }
        #expect(fake.writes.count == writes)
    }

    @Test("What cannot be is refused, and nothing is written") func refusals() async throws {
        let edu = try #require(PCIAddress("0000:00:10.0"))
        fake.addFunction(edu, iommuGroup: 2)
        #expect(try await make(8, dryRun: true).blockers.map(\.code) == [.tooManyVirtualFunctions])
        let error = await failure {
            try await fixture.host.setVirtualFunctions(edu, to: 1, consent: [], dryRun: false) { _ in }
        }
        guard case .refused(edu, "virtual-functions", let blockers) = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(blockers.map(\.code) == [.noSRIOV])
        fake.makePhysical(edu)
        let plan = try await fixture.host.setVirtualFunctions(edu, to: 1, consent: [], dryRun: true) { _ in }
        #expect(plan.blockers.map(\.code) == [.noDriver])
        fake.link("/sys/devices/pci0000:00/\(edu)/driver", to: "../../../bus/pci/drivers/vfio-pci")
        let foreign = try await fixture.host.setVirtualFunctions(edu, to: 1, consent: [], dryRun: true) { _ in }
        #expect(foreign.blockers.map(\.code) == [.foreign])
        #expect(!writes.contains { $0.hasPrefix("sriov") })
    }

    @Test("Virtual functions that the host uses go by consent that names them, foreign ones never")
    func used() async throws {
        try fake.write("2", to: "\(fake.root)/sys/bus/pci/devices/\(nic)/sriov_numvfs")
        fake.addInterface("eth9", on: functions[0], below: ["bond0"])
        fake.link("/sys/devices/pci0000:00/\(functions[1])/driver", to: "../../../bus/pci/drivers/vfio-pci")
        let blockers = try await make(0, dryRun: true).blockers
        #expect(
            blockers.map { "\($0.code.rawValue)=\($0.member?.description ?? "")" } == [
                "network-upper=\(functions[0])", "foreign=\(functions[1])",
            ])
        fake.link("/sys/devices/pci0000:00/\(functions[1])/driver", to: "../../../bus/pci/drivers/igbvf")
        guard case .refused = await failure(of: { try await make(0, consent: [Consent(.networkUpper)]) }) else {
            Issue.record("consent to the device is none to its virtual function")
            return
        }
        _ = try await make(0, consent: [Consent(.networkUpper, of: functions[0])])
        #expect(try await listed().isEmpty)
    }

    @Test("A write that the kernel refuses leaves the device as it was", arguments: 1...3)
    func refusedWrite(number: Int) async throws {
        try fake.write("1", to: "\(fake.root)/sys/bus/pci/devices/\(nic)/sriov_numvfs")
        let before = fake.settings(of: nic)
        fake.failWrite(number, with: .resourceBusy)
        let error = await failure { try await make(4) }
        guard case .kernel(nic, let step, let cause, _) = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(step == (number == 1 ? "sriov_drivers_autoprobe" : "sriov_numvfs"))
        #expect(cause.errno == .resourceBusy)
        #expect(fake.settings(of: nic) == before)
        #expect(!fixture.hasRecord)
        _ = try await make(4)
        #expect(try await listed().count == 4)
    }

    @Test("Killed at any stop point they are taken back, or are there") func killed() async throws {
        let before = fake.settings(of: nic)
        let crashes = Lock<[(point: StopPoint, host: FakeHost)]>([])
        let first = try HostFixture(
            fake,
            stops: { [weak fake] point in
                guard let copy = fake.flatMap({ try? FakeHost(copying: $0) }) else { return }
                crashes.withLock { $0.append((point, copy)) }
            })
        _ = try await first.host.setVirtualFunctions(nic, to: 4, consent: [], dryRun: false) { _ in }
        let crashed = crashes.withLock { $0 }
        #expect(
            crashed.map { "\($0.point.step) \($0.point.moment)" } == [
                "record before", "record after", "virtualFunctionProbing before", "virtualFunctionProbing after",
                "virtualFunctions before", "virtualFunctions after", "created before", "created after",
            ])
        for (point, copy) in crashed {
            let after = try HostFixture(copy)
            let outcomes = try await after.host.recover().map(\.outcome)
            await after.host.settled(nic)
            switch (point.step, point.moment) {
            case (.record, .before): #expect(outcomes.isEmpty)
            case (.created, .after):
                #expect(outcomes == [.created])
                _ = try await after.restore()
            default: #expect(outcomes == [.rollingBack])
            }
            #expect(copy.settings(of: nic) == before, "\(point)")
            #expect(!after.hasRecord, "\(point)")
        }
    }

    @Test("Those that were made stay with the next vfiod, which says if others changed them") func restarted()
        async throws
    {
        let before = fake.settings(of: nic)
        _ = try await make(4)
        let copy = try FakeHost(copying: fake)
        try copy.write("0", to: "\(copy.root)/sys/bus/pci/devices/\(nic)/sriov_numvfs")
        let changed = try HostFixture(copy)
        #expect(try await changed.host.recover().map(\.outcome) == [.drifted])
        let again = await failure {
            try await changed.host.setVirtualFunctions(nic, to: 4, consent: [], dryRun: false) { _ in }
        }
        guard case .wrongState(nic, "created", _, _) = again else {
            Issue.record("\(String(describing: again))")
            return
        }
        _ = try await changed.restore()
        #expect(copy.settings(of: nic) == before)
        let next = try HostFixture(fake)
        #expect(try await next.host.recover().map(\.outcome) == [.created])
        #expect(fake.settings(of: nic)["sriov_numvfs"] == "4\n")
        _ = try await next.restore()
        #expect(fake.settings(of: nic) == before)
    }

    @Test("A virtual function is not taken while its device is worked on, nor goes while it is") func busy()
        async throws
    {
        _ = try await make(2)
        _ = try await fixture.bind(functions[0])
        try fake.hold(functions[0])
        let restoring = Task { try await fixture.restore(functions[0]) }
        await fixture.wait { fake.isBlocked(functions[0]) }
        guard case .refused(nic, "restore", let blockers) = await failure(of: { try await fixture.restore() }) else {
            Issue.record("the device was given back under its virtual function")
            return
        }
        #expect(blockers.map(\.member) == [functions[0]])
        try fake.release(functions[0])
        _ = try await restoring.value
        _ = try await fixture.restore()
    }
}
