import LinuxSystem
import PCI
import SystemPackage
import TestSupport
import Testing

@testable import Passthrough

@Suite("Bind and Restore", .serialized) struct BindTests {
    let fixture: HostFixture
    var fake: FakeHost { fixture.fake }
    var nic: PCIAddress { fixture.nic }

    init() throws {
        fixture = try HostFixture()
    }

    @Test("Bind goes by driver_override and is verified by the driver link") func bind() async throws {
        let plan = try await fixture.bind()
        #expect(plan.blockers.isEmpty)
        #expect(plan.steps.map(\.value) == ["vfio-pci", "\(nic)", "\(nic)", "vfio-pci"])
        #expect(fake.driver(of: nic) == "vfio-pci")
        #expect(
            fake.writes.map { "\($0.attribute) \($0.value)" } == [
                "devices/\(nic)/driver_override vfio-pci", "drivers/e1000e/unbind \(nic)", "drivers_probe \(nic)",
            ])
        #expect(try await fixture.state() == .bound)
        #expect(fixture.lines.all.contains("unbinding from e1000e"))
        let recorded = try await fixture.host.describe(nic).recorded
        #expect(recorded?["driver"] == "e1000e")
        #expect(recorded?["power/control"] == "on")
        #expect(recorded?["reset_method"] == "flr pm")
    }

    @Test("Restore puts back every attribute byte for byte and forgets the device") func restore() async throws {
        fake.set(nic, "reset_method", "pm\n")
        let before = fake.settings(of: nic)
        _ = try await fixture.bind()
        fake.set(nic, "reset_method", "flr\n")
        _ = try await fixture.restore()
        #expect(fake.settings(of: nic) == before)
        #expect(!fixture.hasRecord)
        #expect(try await fixture.state() == .available)
    }

    @Test("A device that had no driver but an override goes back to just that") func driverless() async throws {
        let edu = try #require(PCIAddress("0000:00:10.0"))
        fake.addFunction(edu, vendor: 0x1234, device: 0x11e8, iommuGroup: 2)
        fake.set(edu, "driver_override", "some_driver\n")
        fake.set(edu, "enable", "1\n")
        let before = fake.settings(of: edu)
        _ = try await fixture.bind(edu)
        #expect(fake.driver(of: edu) == "vfio-pci")
        _ = try await fixture.restore(edu)
        #expect(fake.settings(of: edu) == before)
    }

    @Test("Virtual functions that went away are put back") func virtualFunctionCount() async throws {
        fake.set(nic, "sriov_totalvfs", "7\n")
        fake.set(nic, "sriov_numvfs", "0\n")
        _ = try await fixture.bind()
        fake.link("/sys/devices/pci0000:00/\(nic)/virtfn0", to: "../0000:01:10.0")
        fake.set(nic, "sriov_numvfs", "1\n")
        _ = try await fixture.restore()
        #expect(fake.settings(of: nic)["sriov_numvfs"] == "0\n")
    }

    @Test("Bind of a bound device does nothing, also the second time") func again() async throws {
        _ = try await fixture.bind()
        let writes = fake.writes.count
        let plan = try await fixture.bind()
        #expect(plan == Plan(steps: [], blockers: []))
        #expect(fake.writes.count == writes)
        #expect(fixture.hasRecord)
    }

    @Test("A dry run writes nothing and leaves no record") func dryRun() async throws {
        let plan = try await fixture.bind(dryRun: true)
        #expect(plan.steps.count == 4)
        #expect(fake.writes.isEmpty)
        #expect(!fixture.hasRecord)
        _ = try await fixture.bind()
        let writes = fake.writes.count
        #expect(try await fixture.restore(dryRun: true).steps.map(\.value) == ["\(nic)", "\n", "\(nic)", "e1000e"])
        #expect(fake.writes.count == writes)
        #expect(fake.driver(of: nic) == "vfio-pci")
    }

    @Test("A bind whose write is refused leaves the device as it was", arguments: 1...3)
    func refusedWrite(number: Int) async throws {
        let before = fake.settings(of: nic)
        fake.failWrite(number, with: .resourceBusy)
        let error = await failure { try await fixture.bind() }
        guard case .kernel(let address, let step, let cause, _) = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(address == nic)
        #expect(step == ["driver_override", "unbind", "probe"][number - 1])
        #expect(cause.errno == .resourceBusy)
        #expect(fake.settings(of: nic) == before)
        #expect(!fixture.hasRecord)
        #expect(try await fixture.state() == .available)
        _ = try await fixture.bind()
        #expect(fake.driver(of: nic) == "vfio-pci")
    }

    @Test("A device that vfio-pci does not take goes back to its driver") func refusedProbe() async throws {
        let before = fake.settings(of: nic)
        fake.setRefusal("vfio-pci", of: nic)
        let error = await failure { try await fixture.bind() }
        guard case .kernel(_, "probe", let cause, let hint) = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(cause.errno == .invalidArgument)
        #expect(hint.contains("journalctl"))
        #expect(fake.settings(of: nic) == before)
        #expect(!fixture.hasRecord)
    }

    @Test("Where nothing can be recorded nothing is changed") func noRecord() async throws {
        // A directory where the record's new content is to be written.
        fake.set(fixture.recordPath + ".new/in-the-way", "")
        let before = fake.settings(of: nic)
        let error = await failure { try await fixture.bind() }
        guard case .kernel(_, "record", let cause, _) = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(cause.errno == .isDirectory)
        #expect(fake.writes.isEmpty)
        #expect(fake.settings(of: nic) == before)
    }

    @Test("A bind that cannot be put back says both failures, and Restore ends it") func failedRollback() async throws {
        let before = fake.settings(of: nic)
        fake.setRefusal("vfio-pci", of: nic)
        fake.setRefusal("e1000e", of: nic)
        let error = await failure { try await fixture.bind() }
        guard case .kernel(_, "probe", _, let hint) = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(hint.contains("e1000e did not take the device"))
        #expect(fixture.hasRecord)
        guard case .wrongState(_, "binding", _, _) = await failure(of: { try await fixture.bind() }) else {
            Issue.record("a bind over an unfinished one")
            return
        }
        fake.setRefusal("e1000e", of: nic, false)
        _ = try await fixture.restore()
        #expect(fake.settings(of: nic) == before)
        #expect(!fixture.hasRecord)
    }

    @Test("A restore whose write is refused can be repeated and ends as it was", arguments: 1...4)
    func refusedRestore(number: Int) async throws {
        let before = fake.settings(of: nic)
        _ = try await fixture.bind()
        fake.failWrite(number, with: .ioError)
        let error = await failure { try await fixture.restore() }
        // A refused probe is made good by the driver's own bind.
        #expect((error == nil) == (number == 3))
        if error != nil {
            #expect(fixture.hasRecord)
            _ = try await fixture.restore()
        }
        #expect(fake.settings(of: nic) == before)
        #expect(!fixture.hasRecord)
    }

    @Test("Another driver that comes first is sent away for the one the device had") func otherDriver() async throws {
        fake.addDriver("e1000_other", matching: [nic])
        let before = fake.settings(of: nic)
        _ = try await fixture.bind()
        _ = try await fixture.restore()
        #expect(fixture.lines.all.contains("e1000_other took the device instead of e1000e"))
        #expect(fake.settings(of: nic) == before)
    }

    @Test("A driver that is not there any more is named with what to do") func driverGone() async throws {
        _ = try await fixture.bind()
        fake.addDriver("e1000e", matching: [])
        let error = await failure { try await fixture.restore() }
        guard case .kernel(_, "bind", let cause, _) = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(cause.errno == .operationNotSupportedByDevice)
        #expect(fixture.hasRecord)
    }

    @Test("What vfiod did not bind it does not give back") func notOurs() async throws {
        guard case .wrongState(_, "available", "bound", _) = await failure(of: { try await fixture.restore() }) else {
            Issue.record("a restore of what is not bound")
            return
        }
        let absent = try #require(PCIAddress("0000:ff:00.0"))
        guard case .deviceNotFound("0000:ff:00.0") = await failure(of: { try await fixture.bind(absent) }),
            case .deviceNotFound("0000:ff:00.0") = await failure(of: { try await fixture.restore(absent) }),
            case .deviceNotFound("0000:ff:00.0") = await failure(of: { try await fixture.host.describe(absent) }),
            case .deviceNotFound("0000:ff:00.0") = await failure(of: { try await fixture.host.interrupts(absent) })
        else {
            Issue.record("an address that does not exist")
            return
        }
        #expect(fake.writes.isEmpty)
    }

    @Test("A device that somebody else took from vfio-pci keeps its first record") func drift() async throws {
        let before = fake.settings(of: nic)
        _ = try await fixture.bind()
        try fake.write("\(nic)", to: fake.root + "/sys/bus/pci/drivers/vfio-pci/unbind")
        #expect(try await fixture.state() == .available)
        _ = try await fixture.bind()
        let recorded = try await fixture.host.describe(nic).recorded
        #expect(recorded?["driver_override"] == "(null)")
        #expect(recorded?["driver"] == before["driver"])
        _ = try await fixture.restore()
        #expect(fake.settings(of: nic) == before)
    }
}
