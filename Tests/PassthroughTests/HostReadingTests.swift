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

@Suite("Inventory", .serialized) struct InventoryTests {
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
        #expect(details.driverOverride == "e1000e")
        #expect(details.resetMethods == ["flr", "pm"])
        #expect(details.powerControl == "on")
        #expect(details.iommuGroupMembers == [IOMMUGroupMember(address: fixture.nic, driver: "e1000e")])
        #expect(details.bindPlan.steps.count == 4)
        #expect(details.recorded == nil)
        #expect(details.operation == nil)
        #expect(details.virtualFunctions == nil)
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
        fixture.host.liveGroups.add(fixture.nic, .msix) {
            [
                InterruptVectorState(
                    index: 2, wired: true, masked: true, pending: true, hostInterrupt: nil, hostCount: nil)
            ]
        }
        let own = try await fixture.host.interrupts(fixture.nic)
        #expect(own[2].vectors.map(\.masked) == [true])
        #expect(own[2].vectors.map(\.hostInterrupt) == [40])
        fixture.host.liveGroups.remove(fixture.nic, .msix)
        #expect(try await fixture.host.interrupts(fixture.nic) == foreign)
    }

    @Test("A type that the device lacks is absent") func absent() async throws {
        let fixture = try HostFixture()
        #expect(try await fixture.host.interrupts(fixture.nic).map(\.state) == ["configured", "absent", "absent"])
    }
}
