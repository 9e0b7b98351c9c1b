import LinuxSystem
import PCI
import SystemPackage
import TestSupport
import Testing

@testable import Passthrough

/// An e1000e that shares its IOMMU group with an e1000, which has an address, and with a function without driver.
@Suite("Siblings in an IOMMU group", .serialized) struct SiblingTests {
    let fixture: HostFixture
    let log = HostFixture.Lines()
    let sibling: PCIAddress
    let idle: PCIAddress
    let consent: Set<Consent>
    let before: [[String: String]]
    var fake: FakeHost { fixture.fake }
    var nic: PCIAddress { fixture.nic }

    init() throws {
        sibling = try #require(PCIAddress("0000:03:03.0"))
        idle = try #require(PCIAddress("0000:03:02.0"))
        fixture = try HostFixture(addresses: [InterfaceAddress(interface: "eth1", address: "10.0.3.15")], log: log)
        fixture.fake.addDriver("e1000", matching: [sibling])
        fixture.fake.addFunction(sibling, device: 0x100e, driver: "e1000", iommuGroup: 3)
        fixture.fake.addFunction(idle, vendor: 0x1234, device: 0x11e8, iommuGroup: 3)
        fixture.fake.addInterface("eth1", on: sibling)
        consent = [Consent(.siblingInUse, of: sibling), Consent(.networkAddress, of: sibling)]
        before = [fixture.nic, sibling, idle].map(fixture.fake.settings)
    }

    private var settings: [[String: String]] { [nic, sibling, idle].map(fake.settings) }

    private func record(_ address: PCIAddress) -> String { "/var/lib/vfiod/\(address).json" }

    private func hasRecord(_ address: PCIAddress) -> Bool { fake.content(record(address)) != nil }

    /// More of the e1000's kind, at 0000:03:04.0 and so on.
    private func addSiblings(_ count: Int) throws -> [PCIAddress] {
        let added = try (4..<4 + count).map { try #require(PCIAddress("0000:03:0\($0).0")) }
        fake.addDriver("e1000", matching: Set(added + [sibling]))
        for address in added { fake.addFunction(address, device: 0x100e, driver: "e1000", iommuGroup: 3) }
        return added
    }

    @Test("The plan names the sibling and what the host uses it for, each with its own consent") func plan()
        async throws
    {
        let plan = try await fixture.host.plan(.bind, nic)
        #expect(plan.blockers.map(\.code) == [.siblingInUse, .networkAddress])
        #expect(plan.blockers.allSatisfy { $0.member == sibling })
        #expect(
            plan.blockers.map { $0.consent?.description } == [
                "iommu-group-sibling-in-use=0000:03:03.0", "network-address=0000:03:03.0",
            ])
        #expect(
            plan.steps.map(\.value) == [
                "vfio-pci", "\(nic)", "\(nic)", "vfio-pci", "vfio-pci", "\(sibling)", "\(sibling)", "vfio-pci",
            ])
        #expect(fake.writes.isEmpty)
    }

    @Test("Less than the whole consent binds nothing") func lesser() async throws {
        let other = Consent(.siblingInUse, of: idle)
        let lesser: [Set<Consent>] = [
            [], [Consent(.siblingInUse)], [other, Consent(.networkAddress, of: sibling)],
            [Consent(.siblingInUse, of: sibling)], [Consent(.networkAddress, of: sibling)],
            [Consent(.siblingInUse, of: sibling), Consent(.networkAddress)],
        ]
        for consent in lesser {
            guard case .refused(nic, "bind", let left) = await failure(of: { try await fixture.bind(members: consent) })
            else {
                Issue.record("bound with \(consent)")
                return
            }
            #expect(!left.isEmpty)
        }
        #expect(fake.writes.isEmpty && !hasRecord(nic) && !hasRecord(sibling))
    }

    @Test("The root disk on a sibling is never given away with it") func rootDisk() async throws {
        fake.addDisk("vda", number: "254:0", on: sibling)
        fake.set("/proc/self/mountinfo", "27 1 254:0 / / rw - ext4 /dev/vda rw\n")
        let all = consent.union(BlockerCode.allCases.map { Consent($0, of: sibling) })
        guard case .refused(_, _, let left) = await failure(of: { try await fixture.bind(members: all) }) else {
            Issue.record("the root disk was taken")
            return
        }
        #expect(left.map(\.code) == [.rootDisk] && left.first?.member == sibling)
        #expect(fake.writes.isEmpty)
    }

    @Test("Consent binds both, Describe says on whose behalf, and Restore gives both back byte for byte")
    func bindAndRestore() async throws {
        _ = try await fixture.bind(members: consent)
        #expect(fake.driver(of: nic) == "vfio-pci" && fake.driver(of: sibling) == "vfio-pci")
        #expect(fake.driver(of: idle) == nil)
        #expect(try await fixture.state(sibling) == .bound)
        let members = try await fixture.host.describe(nic).iommuGroupMembers
        #expect(members.map(\.onBehalfOf) == [nil, nil, nic])
        #expect(members.map(\.address) == [nic, idle, sibling].sorted())
        guard case .wrongState(sibling, _, _, let message) = await failure(of: { try await fixture.restore(sibling) })
        else {
            Issue.record("a sibling was restored by itself")
            return
        }
        #expect(message.contains("\(nic)"))
        #expect(try await fixture.restore(dryRun: true).steps.contains { $0.value == "e1000" })
        _ = try await fixture.restore()
        #expect(settings == before)
        #expect(!hasRecord(nic) && !hasRecord(sibling))
        #expect(try await fixture.state(sibling) == .available)
        #expect(!log.all.contains { $0.contains(PassthroughHost.driftEvent) })
    }

    @Test("A bind that fails at any write puts both back", arguments: 1...6) func refusedWrite(number: Int) async throws
    {
        fake.failWrite(number, with: .resourceBusy)
        guard
            case .kernel(let address, let step, let cause, _) = await failure(of: {
                try await fixture.bind(members: consent)
            })
        else {
            Issue.record("bound although a write was refused")
            return
        }
        #expect(address == (number <= 3 ? nic : sibling))
        #expect(step == ["driver_override", "unbind", "probe"][(number - 1) % 3])
        #expect(cause.errno == .resourceBusy)
        #expect(settings == before)
        #expect(!hasRecord(nic) && !hasRecord(sibling))
        #expect(try await fixture.state() == .available)
        _ = try await fixture.bind(members: consent)
        #expect(fake.driver(of: sibling) == "vfio-pci")
    }

    @Test("Of two siblings the first goes back when the second cannot be bound") func secondSibling() async throws {
        let second = try addSiblings(1)[0]
        let hadSecond = fake.settings(of: second)
        fake.setRefusal("vfio-pci", of: second)
        let all = consent.union([Consent(.siblingInUse, of: second)])
        guard case .kernel(second, "probe", _, _) = await failure(of: { try await fixture.bind(members: all) }) else {
            Issue.record("bound although vfio-pci refused a sibling")
            return
        }
        #expect(settings == before && fake.settings(of: second) == hadSecond)
        #expect(![nic, sibling, second].contains(where: hasRecord))
        fake.setRefusal("vfio-pci", of: second, false)
        _ = try await fixture.bind(members: all)
        _ = try await fixture.restore()
        #expect(settings == before && fake.settings(of: second) == hadSecond)
    }

    @Test("A device whose record cannot be completed goes back with its sibling") func unrecorded() async throws {
        // A directory where the record's new content is to be written, once the sibling is bound.
        let (fake, path) = (fake, record(nic) + ".new/in-the-way")
        fake.afterWrite { number in if number == 6 { fake.set(path, "") } }
        guard
            case .kernel(nic, "record", let cause, _) = await failure(of: { try await fixture.bind(members: consent) })
        else {
            Issue.record("bound without a record")
            return
        }
        #expect(cause.errno == .isDirectory)
        #expect(settings == before)
    }

    @Test("A sibling that cannot be put back is named, stays recorded, and Restore of it ends it") func stuckSibling()
        async throws
    {
        fake.setRefusal("vfio-pci", of: sibling)
        fake.setRefusal("e1000", of: sibling)
        guard
            case .kernel(sibling, "probe", _, let hint) = await failure(of: {
                try await fixture.bind(members: consent)
            })
        else {
            Issue.record("bound although vfio-pci refused the sibling")
            return
        }
        #expect(hint.contains("Putting 0000:03:03.0 back failed"))
        #expect(fake.settings(of: nic) == before[0] && !hasRecord(nic) && hasRecord(sibling))
        guard
            case .wrongState(sibling, "binding", _, _) = await failure(of: { try await fixture.bind(members: consent) })
        else {
            Issue.record("bound over an unfinished sibling")
            return
        }
        fake.setRefusal("e1000", of: sibling, false)
        _ = try await fixture.restore(sibling)
        #expect(settings == before && !hasRecord(sibling))
    }

    @Test("A restore that a sibling's driver refuses gives the device back, and says which is left") func halfRestore()
        async throws
    {
        _ = try await fixture.bind(members: consent)
        fake.setRefusal("e1000", of: sibling)
        guard case .kernel(sibling, "bind", _, _) = await failure(of: { try await fixture.restore() }) else {
            Issue.record("restored although a driver refused")
            return
        }
        #expect(fake.settings(of: nic) == before[0] && !hasRecord(nic) && hasRecord(sibling))
        fake.setRefusal("e1000", of: sibling, false)
        _ = try await fixture.restore(sibling)
        #expect(settings == before)
    }

    @Test("A sibling that cannot go back keeps no other from it, at Restore") func othersAtRestore() async throws {
        let second = try addSiblings(1)[0]
        let hadSecond = fake.settings(of: second)
        _ = try await fixture.bind(members: consent.union([Consent(.siblingInUse, of: second)]))
        // The first one's turn comes first.
        fake.setRefusal("e1000", of: sibling)
        guard case .kernel(sibling, "bind", _, _) = await failure(of: { try await fixture.restore() }) else {
            Issue.record("restored although a driver refused")
            return
        }
        #expect(fake.settings(of: nic) == before[0] && fake.settings(of: second) == hadSecond)
        #expect(!hasRecord(nic) && !hasRecord(second) && hasRecord(sibling))
    }

    @Test("A sibling that cannot go back keeps no other from it, at a bind that fails") func othersAtBind() async throws
    {
        let added = try addSiblings(2)
        let had = added.map(fake.settings)
        fake.setRefusal("vfio-pci", of: added[1])
        // The last one that was bound goes back first, to no driver.
        fake.afterWrite { [fake] number in if number == 9 { fake.setRefusal("e1000", of: added[0]) } }
        let all = consent.union(added.map { Consent(.siblingInUse, of: $0) })
        guard case .kernel(added[1], "probe", _, let hint) = await failure(of: { try await fixture.bind(members: all) })
        else {
            Issue.record("bound although vfio-pci refused a sibling")
            return
        }
        #expect(hint.contains("Putting \(added[0]) back failed"))
        #expect(settings == before && fake.settings(of: added[1]) == had[1])
        #expect(!hasRecord(nic) && !hasRecord(sibling) && hasRecord(added[0]))
    }

    @Test("A sibling stays as long as another member needs it, and then goes back with that one") func twoDevices()
        async throws
    {
        _ = try await fixture.bind(members: consent)
        #expect(try await fixture.bind(idle).blockers.isEmpty)
        _ = try await fixture.restore()
        #expect(fake.settings(of: nic) == before[0])
        #expect(fake.driver(of: sibling) == "vfio-pci")
        _ = try await fixture.restore(idle)
        #expect(settings == before)
    }

    @Test("A sibling that is asked for later is restored by itself") func adopted() async throws {
        _ = try await fixture.bind(members: consent)
        #expect(try await fixture.bind(sibling).steps.isEmpty)
        _ = try await fixture.restore()
        #expect(fake.settings(of: nic) == before[0] && fake.driver(of: sibling) == "vfio-pci")
        _ = try await fixture.restore(sibling)
        #expect(settings == before && !hasRecord(sibling))
    }

    @Test("While one is worked on so is the other") func busy() async throws {
        _ = try await fixture.bind(members: consent)
        try fake.hold(nic)
        let restore = Task { try await fixture.restore() }
        await fixture.wait { fake.isBlocked(nic) }
        #expect(try await fixture.state(sibling) == .busy)
        guard case .busy(sibling, "restore", _) = await failure(of: { try await fixture.restore(sibling) }) else {
            Issue.record("a second operation on the sibling")
            return
        }
        try fake.release(nic)
        _ = try await restore.value
        #expect(settings == before)
    }

    @Test("The siblings of a device that is pulled out go back") func pulledOut() async throws {
        await fixture.host.takeInventory()
        _ = try await fixture.bind(members: consent)
        fake.removeFunction(nic)
        await fixture.wait { fake.driver(of: sibling) == "e1000" && !hasRecord(sibling) }
        #expect(fake.settings(of: sibling) == before[1])
    }

    /// What the host was like after each write of an operation.
    private func crashes(_ body: () async throws -> Void) async throws -> [FakeHost] {
        let copies = Lock<[FakeHost]>([])
        fake.afterWrite { [weak fake] _ in
            if let copy = fake.flatMap({ try? FakeHost(copying: $0) }) { copies.withLock { $0.append(copy) } }
        }
        try await body()
        return copies.withLock { $0 }
    }

    private func recovered(_ copy: FakeHost) async throws -> (fixture: HostFixture, outcomes: [RecoveryFinding.Outcome])
    {
        let after = try HostFixture(copy)
        let outcomes = try await after.host.recover().map(\.outcome)
        for address in [nic, sibling] { await after.host.settled(address) }
        return (after, outcomes)
    }

    @Test("A bind that was killed after any of its writes is taken back for both") func killedBind() async throws {
        let copies = try await crashes { _ = try await fixture.bind(members: consent) }
        #expect(copies.count == 6)
        for copy in copies {
            let (_, outcomes) = try await recovered(copy)
            #expect(Set(outcomes) == [.rollingBack])
            #expect([nic, sibling, idle].map(copy.settings) == before)
            #expect([nic, sibling].allSatisfy { copy.content(record($0)) == nil })
        }
        // Bound is what it is once the device's own record says so.
        let (after, outcomes) = try await recovered(fake)
        #expect(outcomes == [.bound, .bound])
        _ = try await after.restore()
        #expect(settings == before)
    }

    @Test("Killed between the sibling's record and the device's, both go back") func killedBeforeCommit() async throws {
        _ = try await fixture.bind(members: consent)
        let bound = try #require(fake.content(record(nic)))
        fake.set(record(nic), bound.replacing("\"bound\"", with: "\"binding\""))
        let (_, outcomes) = try await recovered(fake)
        #expect(outcomes == [.rollingBack, .rollingBack])
        #expect(settings == before)
    }

    @Test("A restore that was killed after any of its writes is finished for both") func killedRestore() async throws {
        _ = try await fixture.bind(members: consent)
        let copies = try await crashes { _ = try await fixture.restore() }
        #expect(copies.count >= 6)
        for copy in copies {
            _ = try await recovered(copy)
            #expect([nic, sibling, idle].map(copy.settings) == before)
            #expect([nic, sibling].allSatisfy { copy.content(record($0)) == nil })
        }
    }

    @Test("A record on behalf of what is no address is kept aside") func corrupt() async throws {
        _ = try await fixture.bind(members: consent)
        let good = try #require(fake.content(record(sibling)))
        fake.set(record(sibling), good.replacing("\"\(nic)\"", with: "\"../../x\""))
        let (_, outcomes) = try await recovered(fake)
        #expect(outcomes == [.corrupt, .bound] || outcomes == [.bound, .corrupt])
    }

    @Test("A sibling that comes to a host driver is warned of, and Describe says so until it is gone again")
    func drift()
        async throws
    {
        await fixture.host.takeInventory()
        _ = try await fixture.bind(members: consent)
        #expect(try await fixture.host.describe(nic).drift.isEmpty)
        fake.addDriver("edu_driver", matching: [idle])
        try fake.write("\(idle)", to: fake.root + "/sys/bus/pci/drivers_probe")
        await fixture.wait { (try? await fixture.host.describe(nic).drift.isEmpty) == false }
        let drift = try await fixture.host.describe(nic).drift
        #expect(drift.map(\.code) == [.siblingInUse] && drift.first?.member == idle)
        #expect(drift.first?.message.contains("edu_driver") == true)
        let warnings = log.all.filter { $0.hasPrefix("warning") && $0.contains("event=iommu-group-drift") }
        // The sibling that is bound cannot be opened any more either.
        #expect(warnings.count == 2)
        #expect(warnings.allSatisfy { $0.contains("member=\(idle)") })
        #expect(warnings.contains { $0.contains("device=\(nic)") })
        try fake.write("\(idle)", to: fake.root + "/sys/bus/pci/drivers/edu_driver/unbind")
        await fixture.wait { (try? await fixture.host.describe(nic).drift.isEmpty) == true }
    }

    @Test("A sibling that was with a host driver before vfiod came is warned of too") func earlierDrift() async throws {
        _ = try await fixture.bind(members: consent)
        fake.link("/sys/devices/pci0000:00/\(idle)/driver", to: "../../../bus/pci/drivers/edu_driver")
        let lines = HostFixture.Lines()
        let after = try HostFixture(fake, log: lines)
        _ = try await after.host.recover()
        await after.host.takeInventory()
        #expect(lines.all.contains { $0.contains("event=iommu-group-drift") && $0.contains("device=\(nic)") })
    }
}
