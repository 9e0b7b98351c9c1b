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
