import InterruptSources
import LinuxSystem
import PCI
import SystemPackage
import TestSupport
import Testing

@testable import Passthrough

@Suite("Holders of a device") struct HolderTests {
    let fake: FakeHost
    let device: PCIAddress
    let search: HolderSearch

    init() throws {
        fake = try FakeHost()
        device = try #require(PCIAddress("0000:00:11.0"))
        fake.addFunction(device, driver: "vfio-pci", iommuGroup: 3)
        search = HolderSearch(root: HostRoot(path: fake.root))
    }

    @Test("Who has the IOMMU group or the device node open holds the device") func nodes() {
        fake.addProcess(10, command: "group", open: ["/dev/vfio/3"])
        fake.addProcess(9, command: "node", open: ["/dev/vfio/devices/vfio5"])
        fake.addProcess(11, command: "other", open: ["/dev/vfio/33", "anon_inode:[vfio-device]", "/dev/vfio/vfio"])
        fake.set(device, "vfio-dev/vfio5/dev", "511:5\n")
        #expect(search.holders(of: device).map(\.description) == ["process 9 (node)", "process 10 (group)"])
    }

    @Test("A device descriptor counts by its fdinfo, or where nothing tells what it is of") func descriptors() {
        fake.addProcess(20, command: "named", open: ["anon_inode:[vfio-device]"])
        fake.addProcess(21, command: "nameless", open: ["anon_inode:[vfio-device]"])
        #expect(search.holders(of: device).map(\.processID) == [20, 21])
        fake.set("/proc/20/fdinfo/0", "pos:\t0\nvfio-device-syspath: /sys/devices/pci0000:00/0000:00:11.0\n")
        #expect(search.holders(of: device).map(\.processID) == [20])
        fake.set("/proc/20/fdinfo/0", "vfio-device-syspath: /sys/devices/pci0000:00/0000:00:11.0/0000:01:00.0\n")
        #expect(search.holders(of: device).map(\.processID) == [21])
    }

    @Test("A holder is named with its systemd unit and the descriptors that hold") func unit() {
        fake.addProcess(30, command: "qemu", open: ["/dev/null", "/dev/vfio/3", "anon_inode:[vfio-device]"])
        fake.set("/proc/30/cgroup", "0::/machine.slice/vm-7.scope/libvirt/emulator\n")
        fake.addProcess(31, command: "sh", open: ["/dev/vfio/3"])
        fake.set("/proc/31/cgroup", "12:cpu:/x.service\n0::/user.slice\n")
        let holders = search.holders(of: device)
        #expect(holders.map(\.unit) == ["vm-7.scope", nil])
        #expect(holders.map(\.descriptors) == [[1, 2], [0]])
        #expect(holders.first?.description == "process 30 (qemu) of vm-7.scope")
    }

    @Test("A device without IOMMU group, or nobody, is held by nobody") func nobody() throws {
        #expect(search.holders(of: device).isEmpty)
        #expect(search.holders(of: try #require(PCIAddress("0000:ff:00.0"))).isEmpty)
    }
}

@Suite("/proc/interrupts") struct InterruptTableTests {
    @Test("VFIO's lines are read with their counts over all CPUs") func rows() throws {
        let device = try #require(PCIAddress("0000:00:12.0"))
        let table = InterruptTable(
            """
                       CPU0       CPU1
              9:          0          0   IO-APIC   9-fasteoi   acpi, vfio-intx(0000:00:12.0)
             40:          3          4  IR-PCI-MSIX-0000:00:12.0   3-edge      vfio-msix[3](0000:00:12.0)
             41:          1          0  IR-PCI-MSI-0000:00:16.0   0-edge      vfio-msi[0](0000:00:16.0)
             42:          1          0  IR-PCI-MSI-0000:00:16.0   0-edge      nvme0q1
            NMI:          0          0   Non-maskable interrupts
            """)
        #expect(
            table.rows.filter { $0.address == device } == [
                InterruptTable.Row(address: device, type: .legacy, index: 0, interrupt: 9, count: 0),
                InterruptTable.Row(address: device, type: .msix, index: 3, interrupt: 40, count: 7),
            ])
        #expect(table.rows.count == 3)
    }

    @Test(
        "Lines that make no sense are left out",
        arguments: [
            "40: vfio-msix[3](0000:00:12.0)", "x: 1 2 chip vfio-msix[3](0000:00:12.0)", "40: 1 2 chip vfio-msix[3]",
            "40: 1 2 chip vfio-msix[2048](0000:00:12.0)", "40: 1 2 chip vfio-msix[-1](0000:00:12.0)",
            "40: 1 x chip vfio-msix[3](0000:00:12.0)", "40: -1 2 chip vfio-msix[3](0000:00:12.0)",
            "40: 1 2 chip vfio-(0000:00:12.0)", "40: 1 2 chip vfio-msix[3(0000:00:12.0)",
            "40: 1 2 chip vfio-msix[3](12.0)",
            "40: 1 2 chip vfio-err(0000:00:12.0)", "40: 1 2 chip vfio-[](0000:00:12.0)",
        ])
    func garbage(line: String) {
        #expect(InterruptTable("    CPU0 CPU1\n" + line).rows.isEmpty)
    }

    @Test("Counts that do not fit stay at the most") func overflow() {
        let table = InterruptTable("CPU0 CPU1\n40: 9223372036854775807 5 chip vfio-msi[0](0000:00:12.0)")
        #expect(table.rows.map(\.count) == [Int.max])
    }
}

@Suite("List, Describe and Interrupts", .serialized) struct DeviceReadingTests {
    private func fixture() throws -> HostFixture {
        let fixture = try HostFixture()
        var config = FakeConfigSpace()
        config.addMSI(encoding: 0)
        config.addMSIX(vectors: 5)
        fixture.fake.addFunction(fixture.nic, driver: "e1000e", iommuGroup: 3, config: config.bytes)
        return fixture
    }

    @Test("List has ids, driver, IOMMU group and interrupt counts") func list() async throws {
        let fixture = try fixture()
        let device = try #require(try await fixture.host.list().first)
        #expect(device.address == fixture.nic)
        #expect(device.vendorID == 0x8086)
        #expect(device.driver == "e1000e")
        #expect(device.iommuGroup == 3)
        #expect(device.interrupts == InterruptCounts(legacy: 1, msi: 1, msix: 5))
        #expect(device.state == .available)
        #expect(!device.name.isEmpty && !device.className.isEmpty)
    }

    @Test("Describe has the settings, the IOMMU group and what a bind would meet") func describe() async throws {
        let fixture = try fixture()
        fixture.fake.set(fixture.nic, "driver_override", "e1000e\n")
        let details = try await fixture.host.describe(fixture.nic)
        #expect(details.live.driverOverride == "e1000e")
        #expect(details.resetMethods == ["flr", "pm"])
        #expect(details.live.powerControl == "on")
        #expect(details.iommuGroupMembers == [IOMMUGroupMember(address: fixture.nic, driver: "e1000e")])
        #expect(details.bindPlan.steps.count == 4)
        #expect(details.recorded == nil)
        #expect(details.operation == nil)
        #expect(details.totalVirtualFunctions == nil && details.virtualFunctions.isEmpty)
        #expect(details.live.unread.isEmpty)
    }

    @Test("Describe has what the device is, where it sits, what it answers, and what the host does with it")
    func everything() async throws {
        let fixture = try fixture()
        let (fake, nic) = (fixture.fake, fixture.nic)
        var config = FakeConfigSpace()
        config.addMSI(encoding: 0)
        config.setCommand(0x0406)
        config.addExtended(id: 0x0003, words: [0xff12_3456, 0x5254_00ff])
        fake.set("/sys/devices/pci0000:00/\(nic)/config", bytes: config.bytes)
        fake.link("/sys/bus/pci/devices/\(nic)", to: "../../../devices/pci0000:00/0000:00:02.0/\(nic)")
        fake.link("/sys/devices/pci0000:00/0000:00:02.0/\(nic)", to: "../\(nic)")
        fake.set("/sys/bus/pci/slots/4/address", "0000:00:02\n")
        fake.set(nic, "resource", "0x0000000000001000 0x000000000000101f 0x0000000000040101\n")
        fake.set(nic, "power_state", "D3hot\n")
        fake.set(nic, "boot_vga", "1\n")
        for (name, value) in ["current_link_speed": "8.0 GT/s PCIe", "max_link_speed": "16.0 GT/s PCIe"] {
            fake.set(nic, name, value + "\n")
        }
        fake.set(nic, "current_link_width", "4\n")
        fake.set(nic, "max_link_width", "255\n")
        fake.set("/sys/kernel/iommu_groups/3/reserved_regions", "0x00000000fee00000 0x00000000feefffff msi\n")
        fake.addProcess(40, command: "qemu", open: ["/dev/vfio/3"])
        let details = try await fixture.host.describe(nic)
        #expect(details.configuration?.serialNumber?.description == "52-54-00-ff-ff-12-34-56")
        #expect(details.configuration?.capabilities.map(\.id) == [5, 3])
        #expect(details.configuration?.capabilities.map(\.isExtended) == [false, true])
        #expect(details.route.map(\.description) == ["0000:00:02.0", "0000:00:11.0"])
        #expect(details.slot == "4")
        #expect(details.regions.map(\.size) == [32])
        #expect(details.live.powerState == "D3hot")
        #expect(
            details.live.link
                == PCILink(speed: "8.0 GT/s PCIe", width: 4, maximumSpeed: "16.0 GT/s PCIe", maximumWidth: 0))
        #expect(details.live.command?.isBusMaster == true && details.live.command?.disablesINTx == true)
        #expect(details.reservedRegions.map(\.kind) == ["msi"])
        #expect(details.holders.map(\.processID) == [40])
        #expect(details.hostUses.map(\.code) == [.console])
    }

    @Test("A device that does not answer has no command register, and no vectors that it does not have")
    func silent() async throws {
        let fixture = try HostFixture()
        let bytes = [UInt8](repeating: 0xff, count: 256)
        fixture.fake.set("/sys/devices/pci0000:00/\(fixture.nic)/config", bytes: bytes)
        let details = try await fixture.host.describe(fixture.nic)
        #expect(details.live.command == nil && details.configuration == nil && details.live.unread.isEmpty)
        #expect(details.summary.interrupts == InterruptCounts(legacy: 0, msi: 0, msix: 0))
        // It comes to itself.
        fixture.fake.set("/sys/devices/pci0000:00/\(fixture.nic)/config", bytes: FakeConfigSpace().bytes)
        #expect(try await fixture.host.describe(fixture.nic).live.command != nil)
        #expect(try await fixture.device()?.interrupts.legacy == 1)
    }

    @Test("A device that somebody else bound to VFIO is foreign") func foreign() async throws {
        let fixture = try fixture()
        fixture.fake.link("/sys/devices/pci0000:00/\(fixture.nic)/driver", to: "../../../bus/pci/drivers/vfio-pci")
        #expect(try await fixture.state() == .foreign)
        guard case .wrongState(_, "foreign", "bound", _) = await failure(of: { try await fixture.restore() }) else {
            Issue.record("a foreign device was given back")
            return
        }
    }

    @Test("Interrupts shows what the host has connected, or what vfiod has live") func interrupts() async throws {
        let fixture = try fixture()
        let idle = try await fixture.host.interrupts(fixture.nic)
        #expect(idle.map(\.state) == ["configured", "configured", "configured"])
        fixture.fake.set("/proc/interrupts", "CPU0\n40: 3 chip vfio-msix[2](\(fixture.nic))\n")
        let foreign = try await fixture.host.interrupts(fixture.nic)
        #expect(foreign.map(\.state) == ["configured", "configured", "live"])
        #expect(foreign[2].vectors.map(\.wired) == [false, false, true, false, false])
        #expect(foreign[2].vectors[2].hostInterrupt == 40)
        #expect(foreign[2].vectors[2].hostCount == 3)
        let device = try VirtualInterrupts([.msix: 5])
        let groups = try DeviceInterrupts([try #require(device.source(.msix))], sink: nil)
        fixture.host.liveGroups.add(fixture.nic, groups)
        #expect(try await fixture.host.interrupts(fixture.nic) == foreign, "ours, and not live")
        try groups.switchTo(.msix)
        try groups.group(.msix)?.mask(2)
        device.raise(2)
        let own = try await fixture.host.interrupts(fixture.nic)
        #expect(own[2].state == "live")
        #expect(own[2].vectors.map(\.wired) == [true, true, true, true, true])
        #expect(own[2].vectors.map(\.masked) == [false, false, true, false, false])
        #expect(own[2].vectors.map(\.pending) == [false, false, true, false, false])
        #expect(own[2].vectors.map(\.hostInterrupt) == [nil, nil, 40, nil, nil])
        fixture.host.liveGroups.remove(fixture.nic)
        #expect(try await fixture.host.interrupts(fixture.nic) == foreign)
    }

    @Test("A type that the device lacks is absent") func absent() async throws {
        let fixture = try HostFixture()
        #expect(try await fixture.host.interrupts(fixture.nic).map(\.state) == ["configured", "absent", "absent"])
    }
}
