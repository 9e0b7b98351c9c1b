import LinuxSystem
import PCI
import TestSupport
import Testing

@testable import Passthrough

@Suite("The inventory follows the kernel's events", .serialized) struct UeventTests {
    let fixture: HostFixture
    let log = HostFixture.Lines()
    let sentinel: PCIAddress
    var fake: FakeHost { fixture.fake }
    var nic: PCIAddress { fixture.nic }

    init() async throws {
        fixture = try HostFixture(log: log)
        sentinel = try #require(PCIAddress("0000:0e:00.0"))
        await fixture.host.takeInventory()
    }

    /// Waits until everything that was sent so far is entered: what is sent last, is entered last.
    private func settle() async throws {
        fake.addFunction(sentinel)
        await fixture.wait { (try? await fixture.device(sentinel)) != nil }
        fake.removeFunction(sentinel)
        await fixture.wait { (try? await fixture.device(sentinel)) == nil }
    }

    @Test("A driver changed by hand shows, without a restart") func driver() async throws {
        try fake.write("\(nic)", to: fake.root + "/sys/bus/pci/drivers/e1000e/unbind")
        try await settle()
        #expect(try await fixture.device()?.driver == nil)
        try fake.write("\(nic)", to: fake.root + "/sys/bus/pci/drivers_probe")
        try await settle()
        #expect(try await fixture.device()?.driver == "e1000e")
        #expect(log.all.contains("info: \(nic) went from no driver to e1000e"))
    }

    @Test("A driver that refuses a device that has just come is not shown") func refusedProbe() async throws {
        let address = try #require(PCIAddress("0000:05:00.0"))
        fake.addFunction(address, iommuGroup: 8)
        fake.link("/sys/devices/pci0000:00/\(address)/driver", to: "../../../bus/pci/drivers/e1000e")
        try await settle()
        #expect(try await fixture.device(address)?.driver == nil)
    }

    @Test("A device that is plugged in comes with its vectors and its IOMMU group, and goes again") func hotPlug()
        async throws
    {
        var config = FakeConfigSpace()
        config.addMSIX(vectors: 5)
        let address = try #require(PCIAddress("0000:05:00.0"))
        fake.addFunction(address, driver: "e1000e", iommuGroup: 3, config: config.bytes)
        await fixture.wait { (try? await fixture.device(address)?.interrupts.msix) == 5 }
        #expect(try await fixture.host.describe(nic).iommuGroupMembers.map(\.address) == [address, nic].sorted())
        fake.removeFunction(address)
        try await settle()
        #expect(try await fixture.device(address) == nil)
        #expect(try await fixture.host.describe(nic).iommuGroupMembers.map(\.address) == [nic])
        guard case .deviceNotFound = await failure(of: { try await fixture.host.describe(address) }) else {
            Issue.record("a device that is not there was described")
            return
        }
    }

    @Test("Virtual functions that are made and removed show at their physical function") func virtualFunctions()
        async throws
    {
        fake.set(nic, "sriov_totalvfs", "7\n")
        let functions = (0..<7).compactMap { PCIAddress(domain: 0, bus: 6, device: 16, function: UInt8($0)) }
        for (number, function) in functions.enumerated() {
            fake.addFunction(function, iommuGroup: 20 + number)
            fake.makeVirtual(function, of: nic, number: number)
        }
        try await settle()
        let details = try await fixture.host.describe(nic)
        #expect(details.virtualFunctions == functions)
        #expect(details.totalVirtualFunctions == 7)
        #expect(try await fixture.host.describe(functions[3]).physicalFunction == nic)
        for function in functions { fake.removeFunction(function) }
        try await settle()
        #expect(try await fixture.host.describe(nic).virtualFunctions.isEmpty)
    }

    @Test("A device that is gone before its event is read is not there, and does no harm") func goneBeforeRead()
        async throws
    {
        let address = try #require(PCIAddress("0000:05:00.0"))
        for action in ["add", "bind", "change", "unbind", "move"] { fake.sendUevent(action, address) }
        try await settle()
        #expect(try await fixture.device(address) == nil)
    }

    @Test("A message that is not the kernel's, or makes no sense, changes nothing and is logged") func hostile()
        async throws
    {
        let path = "/devices/pci0000:00/\(nic)"
        let removal = Array("remove@\(path)\0ACTION=remove\0DEVPATH=\(path)\0SUBSYSTEM=pci\0".utf8)
        let strangers = [
            UeventDatagram.Sender(port: 4711, groups: 1, processID: 4711),
            UeventDatagram.Sender(port: 0, groups: 2, processID: 0),
            UeventDatagram.Sender(port: 0, groups: 0, processID: 0),
            UeventDatagram.Sender(port: 0, groups: 1, processID: nil),
            UeventDatagram.Sender(port: 4711, groups: 1, processID: 0),
        ]
        for sender in strangers { fake.uevents.send(bytes: removal, from: sender) }
        fake.uevents.send(bytes: removal, isTruncated: true)
        fake.uevents.send(bytes: [])
        fake.uevents.send(bytes: Array("libudev".utf8) + [0, 0xfe, 0xed, 0xca, 0xfe])
        fake.uevents.send("remove", path, ["SYNTH_UUID=0"])
        fake.uevents.send("remove", path, subsystem: "net")
        try await settle()
        #expect(try await fixture.device()?.driver == "e1000e")
        let warnings = log.all.filter { $0.contains("messages on the uevent socket are ignored") }
        // One line for as many as came together.
        let counts = warnings.compactMap { $0.split(separator: " ").dropFirst().first.flatMap { Int($0) } }
        #expect(counts.reduce(0, +) == 8)
    }

    @Test("After events were lost everything is read again") func overrun() async throws {
        let come = try #require(PCIAddress("0000:05:00.0"))
        let gone = try #require(PCIAddress("0000:06:00.0"))
        fake.addFunction(gone, iommuGroup: 9)
        try await settle()
        fake.uevents.beginOverrun()
        fake.addFunction(come, driver: "e1000e", iommuGroup: 8)
        fake.removeFunction(gone)
        try fake.write("\(nic)", to: fake.root + "/sys/bus/pci/drivers/e1000e/unbind")
        fake.uevents.overrun()
        await fixture.wait { (try? await fixture.device(come)?.interrupts.legacy) == 1 }
        #expect(try await fixture.device(come)?.driver == "e1000e")
        #expect(try await fixture.device(gone) == nil)
        #expect(try await fixture.device()?.driver == nil)
        try await settle()
    }

    @Test("What vfiod did itself shows when its call returns, whether or not an event tells") func ownOperations()
        async throws
    {
        fake.uevents.beginOverrun()
        _ = try await fixture.bind()
        #expect(try await fixture.device()?.driver == "vfio-pci")
        #expect(try await fixture.state() == .bound)
        _ = try await fixture.restore()
        #expect(try await fixture.device()?.driver == "e1000e")
        fake.uevents.overrun()
        try await settle()
        #expect(try await fixture.device()?.driver == "e1000e")
    }

    @Test("A bound device that is removed stays in the list as gone, its record is closed, and that is said")
    func removedWhileBound() async throws {
        _ = try await fixture.bind()
        #expect(fixture.hasRecord)
        fake.removeFunction(nic)
        await fixture.wait { (try? await fixture.state()) == .gone }
        await fixture.host.settled(nic)
        #expect(!fixture.hasRecord)
        #expect(log.all.count { $0.contains("its record is closed") && $0.contains("event=device-gone") } == 1)
        let details = try await fixture.host.describe(nic)
        #expect(details.summary.vendorID == 0x8086 && details.summary.driver == nil)
        #expect(details.recorded == nil && details.iommuGroupMembers.isEmpty)
        #expect(try await fixture.host.interrupts(nic).count == 3)
        guard case .wrongState(nic, "gone", _, _) = await failure(of: { try await fixture.bind() }),
            case .wrongState(nic, "gone", _, _) = await failure(of: { try await fixture.restore() })
        else {
            Issue.record("a device that is gone was worked on")
            return
        }
        // It comes back as a device that vfiod knows nothing of.
        fake.addFunction(nic, driver: "e1000e", iommuGroup: 3)
        await fixture.wait { (try? await fixture.state()) == .available }
        _ = try await fixture.bind()
        #expect(try await fixture.state() == .bound)
    }

    @Test("A device that is removed and back before anybody looked is not taken for the one that was bound")
    func replacedWhileBound() async throws {
        _ = try await fixture.bind()
        fake.removeFunction(nic)
        fake.addFunction(nic, driver: "e1000e", iommuGroup: 3)
        await fixture.wait { !fixture.hasRecord }
        await fixture.host.settled(nic)
        try await settle()
        #expect(try await fixture.state() == .available)
    }

    @Test("A removal that was heard counts, even if events after it were lost") func removedBeforeOverrun() async throws
    {
        _ = try await fixture.bind()
        fake.removeFunction(nic)
        fake.uevents.beginOverrun()
        fake.addFunction(nic, driver: "e1000e", iommuGroup: 3)
        fake.uevents.overrun()
        await fixture.wait { !fixture.hasRecord }
        await fixture.host.settled(nic)
        await fixture.wait { (try? await fixture.state()) == .available }
    }

    @Test("A device that is removed in the middle of a restore leaves no record, and nothing hangs")
    func removedDuringOperation() async throws {
        _ = try await fixture.bind()
        try fake.hold(nic)
        let outcome = Eventual<PassthroughError?>()
        Task { [fixture] in outcome.resolve(await failure { try await fixture.restore() }) }
        await fixture.wait { fake.isBlocked(nic) }
        fake.removeFunction(nic)
        await fixture.wait { (try? await fixture.state()) == .gone }
        #expect(fixture.hasRecord)
        try fake.release(nic)
        #expect(await outcome.value() != nil)
        await fixture.wait { await fixture.host.isIdle(nic) && !fixture.hasRecord }
        #expect(try await fixture.state() == .gone)
    }

    @Test("Slots are read again when one comes") func slots() async throws {
        fake.set("/sys/bus/pci/slots/9/address", "0000:00:11\n")
        fake.uevents.send("add", "/bus/pci/slots/9", subsystem: "slots")
        try await settle()
        #expect(try await fixture.host.describe(nic).slot == "9")
    }
}
