import PCI
import TestSupport
import Testing

@Suite("Sysfs") struct SysfsTests {
    let host: FakeHost
    let sysfs: Sysfs
    let address: PCIAddress

    init() throws {
        host = try FakeHost()
        sysfs = Sysfs(root: host.root + "/sys")
        address = try #require(PCIAddress("0000:00:11.0"))
    }

    @Test("A function is read with its ids, driver and IOMMU group") func function() throws {
        host.addFunction(address, vendor: 0x8086, device: 0x10d3, classCode: 0x020000, driver: "e1000e", iommuGroup: 7)
        let function = try #require(sysfs.function(address))
        #expect(function.vendorID == 0x8086)
        #expect(function.deviceID == 0x10d3)
        #expect(function.classCode == 0x020000)
        #expect(function.revision == 2)
        #expect(function.subsystemVendorID == 0x1af4)
        #expect(sysfs.driver(of: address) == "e1000e")
        #expect(sysfs.iommuGroup(of: address) == 7)
        #expect(sysfs.members(ofIOMMUGroup: 7) == [address])
        #expect(sysfs.resetMethods(of: address) == ["flr", "pm"])
        #expect(sysfs.numaNode(of: address) == nil)
        #expect(sysfs.configSpace(of: address).bytes.count == 256)
    }

    @Test("What is not there is nil, not an error") func absent() {
        #expect(!sysfs.contains(address))
        #expect(sysfs.function(address) == nil)
        #expect(sysfs.driver(of: address) == nil)
        #expect(sysfs.iommuGroup(of: address) == nil)
        #expect(sysfs.members(ofIOMMUGroup: 3).isEmpty)
        #expect(sysfs.configSpace(of: address).bytes.isEmpty)
        #expect(sysfs.virtualFunctions(of: address).isEmpty)
        #expect(sysfs.totalVirtualFunctions(of: address) == nil)
    }

    @Test(
        "An attribute that makes no sense is as good as none",
        arguments: [
            "", "\n", "0x", "0xfffff\n", "8086\n", "-1\n", "0x80 86\n", "\u{0}\u{1}",
            "0x" + String(repeating: "8", count: 9000),
        ]
    )
    func garbage(content: String) {
        host.addFunction(address)
        host.set(address, "vendor", content)
        host.set(address, "numa_node", content)
        host.set(address, "sriov_totalvfs", content)
        #expect(sysfs.function(address) == nil)
        #expect(sysfs.numaNode(of: address) == (content == "8086\n" ? 8086 : nil))
        #expect(sysfs.totalVirtualFunctions(of: address) == (content == "8086\n" ? 8086 : nil))
    }

    @Test("Bytes that are no text do no harm") func notUTF8() {
        host.addFunction(address)
        host.set("/sys/devices/pci0000:00/\(address)/class", bytes: [0xff, 0xfe, 0x30, 0x78, 0x0a])
        host.set("/sys/devices/pci0000:00/\(address)/reset_method", bytes: [0xc3, 0x28, 0x20, 0x66, 0x6c, 0x72])
        host.link("/sys/devices/pci0000:00/\(address)/iommu_group", to: "../../nonsense")
        #expect(sysfs.function(address) == nil)
        #expect(sysfs.resetMethods(of: address).last == "flr")
        #expect(sysfs.iommuGroup(of: address) == nil)
    }

    @Test("Virtual functions are found by their links") func virtualFunctions() throws {
        let virtual = try #require(PCIAddress("0000:01:10.0"))
        host.addFunction(address)
        host.set(address, "sriov_totalvfs", "7\n")
        host.link("/sys/devices/pci0000:00/\(address)/virtfn0", to: "../\(virtual)")
        host.link("/sys/devices/pci0000:00/\(address)/virtfn1", to: "../rubbish")
        #expect(sysfs.virtualFunctions(of: address) == [virtual])
        #expect(sysfs.totalVirtualFunctions(of: address) == 7)
    }
}

@Suite("A function's place and resources") struct SysfsResourceTests {
    let host: FakeHost
    let sysfs: Sysfs
    let address: PCIAddress

    init() throws {
        host = try FakeHost()
        sysfs = Sysfs(root: host.root + "/sys")
        address = try #require(PCIAddress("0000:02:00.0"))
        host.addFunction(address, iommuGroup: 4)
    }

    @Test("BARs and the ROM are read, and what follows them is not") func regions() {
        let none = "0x0000000000000000 0x0000000000000000 0x0000000000000000\n"
        host.set(
            address, "resource",
            "0x0000004000080000 0x00000040000fffff 0x000000000014220c\n" + none
                + "0x000000000000c000 0x000000000000c01f 0x0000000000040101\n" + none + none + none
                + "0x00000000febc0000 0x00000000febfffff 0x0000000000046200\n"
                + "0x00000000fe000000 0x00000000fe003fff 0x0000000000140204\n")
        let regions = sysfs.regions(of: address)
        #expect(regions.map(\.index) == [0, 2, 6])
        #expect(regions.map(\.space) == [.memory, .io, .memory])
        #expect(regions.map(\.address) == [0x40_0008_0000, 0xc000, 0xfebc_0000])
        #expect(regions.map(\.size) == [0x80000, 32, 0x40000])
        #expect(regions.map(\.is64Bit) == [true, false, false])
        #expect(regions.map(\.isPrefetchable) == [true, false, true])
    }

    @Test(
        "A line of resource that makes no sense is no region",
        arguments: [
            "", "0x1 0x2", "0x10 0x1 0x200", "0x0 0xffffffffffffffff 0x200", "0x0 0xfff 0x20000200", "1 2 3",
            "0x0 0x1ffffffffffffffff 0x200", "0x0 0xfff 0x0", "\u{0}", "0x0 0xfff 0x200 0x1",
        ])
    func noRegion(line: String) {
        host.set(address, "resource", line + "\n")
        #expect(sysfs.regions(of: address).isEmpty)
    }

    @Test("The way to a function leads over the bridges that its link names") func route() throws {
        host.link(
            "/sys/bus/pci/devices/\(address)",
            to: "../../../devices/pci0000:00/0000:00:1c.0/0000:01:00.0/\(address)")
        #expect(sysfs.route(to: address).map(\.description) == ["0000:00:1c.0", "0000:01:00.0", "0000:02:00.0"])
        #expect(sysfs.route(to: try #require(PCIAddress("0000:ff:00.0"))).isEmpty)
    }

    @Test("A slot holds all functions of its device, or of its bus") func slots() throws {
        for (name, content) in ["4": "0000:02:00\n", "5-1": "0000:03\n", "bad": "0000\n", "worse": "0000:02:20\n"] {
            host.set("/sys/bus/pci/slots/\(name)/address", content)
        }
        let slots = sysfs.slots()
        #expect(slots.map(\.name) == ["4", "5-1"])
        #expect(slots[0].holds(address))
        #expect(!slots[1].holds(address))
        #expect(slots[1].holds(try #require(PCIAddress("0000:03:1f.7"))))
        #expect(!slots[0].holds(try #require(PCIAddress("0000:02:01.0"))))
        #expect(!slots[0].holds(try #require(PCIAddress("0001:02:00.0"))))
    }

    @Test("Reserved regions are read; a line that makes no sense is left out") func reservedRegions() {
        host.set(
            "/sys/kernel/iommu_groups/4/reserved_regions",
            "0x00000000fee00000 0x00000000feefffff msi\nnonsense\n0x2 0x1 direct\n0x1000 0x1fff direct-relaxable\n")
        #expect(
            sysfs.reservedRegions(ofIOMMUGroup: 4) == [
                IOMMUReservedRegion(first: 0xfee0_0000, last: 0xfeef_ffff, kind: "msi"),
                IOMMUReservedRegion(first: 0x1000, last: 0x1fff, kind: "direct-relaxable"),
            ])
        #expect(sysfs.reservedRegions(ofIOMMUGroup: 5).isEmpty)
    }

    @Test("A virtual function names its physical one") func physicalFunction() throws {
        #expect(sysfs.physicalFunction(of: address) == nil)
        let physical = try #require(PCIAddress("0000:00:11.0"))
        host.makeVirtual(address, of: physical, number: 0)
        #expect(sysfs.physicalFunction(of: address) == physical)
    }

    @Test("A function that is none of PCI Express has no link") func link() {
        #expect(sysfs.link(of: address) == nil)
        #expect(!sysfs.isBridge(address))
    }
}

@Suite("libpci") struct PCILibraryTests {
    let host: FakeHost
    let library: PCILibrary

    init() throws {
        host = try FakeHost()
        library = PCILibrary(sysfs: host.root + "/sys")
    }

    @Test("libpci finds all functions, in the order of addresses, wide domains too") func scan() throws {
        let texts = ["0000:00:11.0", "10000:e1:00.0", "0000:00:01.0", "0000:01:10.7"]
        for text in texts { host.addFunction(try #require(PCIAddress(text))) }
        #expect(
            try library.addresses().map(\.description)
                == ["0000:00:01.0", "0000:00:11.0", "0000:01:10.7", "10000:e1:00.0"])
        #expect(try library.addresses() == Sysfs(root: host.root + "/sys").addresses())
    }

    @Test("An entry that libpci cannot read is an error, not the process' end") func hostileBus() throws {
        host.addFunction(try #require(PCIAddress("0000:00:01.0")))
        host.set("/sys/bus/pci/devices/rubbish", "")
        #expect(throws: PCILibraryError.self) { try library.addresses() }
        host.remove("/sys/bus/pci/devices/rubbish")
        #expect(try library.addresses().count == 1)
        #expect(throws: PCILibraryError.self) { try PCILibrary(sysfs: host.root + "/nowhere").addresses() }
    }

    @Test("Ids have names, or are named by their numbers") func names() throws {
        let known = PCIFunction(
            address: try #require(PCIAddress("0000:00:11.0")), vendorID: 0x8086, deviceID: 0x10d3, classCode: 0x020000,
            revision: 0, subsystemVendorID: 0, subsystemDeviceID: 0)
        let unknown = PCIFunction(
            address: known.address, vendorID: 0xfff0, deviceID: 0xfff1, classCode: 0xf7f8f9, revision: 0,
            subsystemVendorID: 0, subsystemDeviceID: 0)
        let names = try PCILibrary.names(of: [known, unknown])
        #expect(names.count == 2)
        #expect(!names[0].device.isEmpty)
        #expect(!names[0].kind.isEmpty)
        #expect(names[1].device.contains("fff0"))
        #expect(names[1].device.contains("fff1"))
    }
}

@Suite("PCI address") struct PCIAddressTests {
    @Test(
        "Addresses are written as sysfs writes them",
        arguments: ["0000:00:00.0", "0000:ff:1f.7", "10000:e1:00.0", "ffffffff:00:00.0"])
    func roundTrip(text: String) {
        #expect(PCIAddress(text)?.description == text)
    }

    @Test(
        "What is no address is refused",
        arguments: [
            "", "0000:00:00", "00:00.0", "0000:00:20.0", "0000:00:00.8", "0000:00:00.0 ", "0000:00:0.0", "+000:00:00.0",
            "000:00:00.0", "100000000:00:00.0", "0000:00:00.0/..", "0000:0g:00.0", "0000:00:00.\u{0660}",
        ])
    func refused(text: String) {
        #expect(PCIAddress(text) == nil)
    }
}
