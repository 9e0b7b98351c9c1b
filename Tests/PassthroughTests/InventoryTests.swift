import PCI
import Testing

@testable import Passthrough

@Suite("The inventory in memory") struct InventoryTests {
    private static let nic = PCIAddress(domain: 0, bus: 1, device: 0, function: 0)
    private static let other = PCIAddress(domain: 0, bus: 1, device: 0, function: 1)

    private var nic: PCIAddress { get throws { try #require(InventoryTests.nic) } }
    private var other: PCIAddress { get throws { try #require(InventoryTests.other) } }

    private func attributes(
        _ address: PCIAddress, driver: String? = nil, group: Int? = 3, device: UInt16 = 0x10d3,
        physical: PCIAddress? = nil
    ) -> DeviceAttributes {
        let function = PCIFunction(
            address: address, vendorID: 0x8086, deviceID: device, classCode: 0x020000, revision: 0,
            subsystemVendorID: 0, subsystemDeviceID: 0)
        return DeviceAttributes(
            function: function, names: PCINames(device: "nic", kind: "network"), route: [address], driver: driver,
            iommuGroup: group, numaNode: nil, regions: [], resetMethods: [], totalVirtualFunctions: nil,
            physicalFunction: physical)
    }

    private func enter(
        _ inventory: inout Inventory, _ number: UInt64, _ address: PCIAddress, _ attributes: DeviceAttributes?,
        bound: Bool = false, ours: Bool = false
    ) -> [InventoryChange] {
        inventory.enter(
            DeviceReading(number: number, address: address, attributes: attributes), driverIsBound: bound, isOurs: ours)
    }

    @Test("A driver that is only being asked does not count until the kernel says that it has taken the device")
    func probing() throws {
        var inventory = Inventory()
        #expect(
            try enter(&inventory, 1, nic, attributes(nic, driver: "e1000e")) == [.added(nic, name: "nic")])
        #expect(try inventory[nic]?.driver == nil)
        #expect(
            try enter(&inventory, 2, nic, attributes(nic, driver: "e1000e"), bound: true)
                == [.driver(nic, from: nil, to: "e1000e")])
        // What is known to be bound stays so while other events are read.
        #expect(try enter(&inventory, 3, nic, attributes(nic, driver: "e1000e")).isEmpty)
        #expect(
            try enter(&inventory, 4, nic, attributes(nic, driver: "vfio-pci"))
                == [.driver(nic, from: "e1000e", to: nil)])
        #expect(try enter(&inventory, 5, nic, attributes(nic)).isEmpty)
    }

    @Test("An earlier reading that knows a driver to be bound makes a later one sure that only saw it")
    func confirmed() throws {
        var inventory = Inventory()
        _ = try enter(&inventory, 1, nic, attributes(nic, driver: "e1000e"), bound: true)
        _ = try enter(&inventory, 3, nic, attributes(nic, driver: "vfio-pci"))
        #expect(try inventory[nic]?.driver == nil)
        // Of another driver it knows nothing.
        #expect(try enter(&inventory, 2, nic, attributes(nic, driver: "e1000e"), bound: true).isEmpty)
        #expect(try enter(&inventory, 2, nic, attributes(nic, driver: "vfio-pci")).isEmpty)
        #expect(
            try enter(&inventory, 2, nic, attributes(nic, driver: "vfio-pci"), bound: true)
                == [.driver(nic, from: nil, to: "vfio-pci")])
        #expect(try enter(&inventory, 2, nic, attributes(nic, driver: "vfio-pci"), bound: true).isEmpty)
    }

    @Test("Of two readings the later one counts, in whichever order they come, also for what is gone")
    func order() throws {
        var inventory = Inventory()
        _ = try enter(&inventory, 5, nic, attributes(nic, driver: "vfio-pci"), bound: true)
        #expect(try enter(&inventory, 4, nic, attributes(nic, driver: "e1000e"), bound: true).isEmpty)
        #expect(try inventory[nic]?.driver == "vfio-pci")
        #expect(try enter(&inventory, 7, nic, nil) == [.removed(nic)])
        #expect(try enter(&inventory, 6, nic, attributes(nic)).isEmpty)
        #expect(inventory.addresses.isEmpty)
    }

    @Test("Members of IOMMU groups follow as functions come, go and move") func groups() throws {
        var inventory = Inventory()
        _ = try enter(&inventory, 1, nic, attributes(nic))
        _ = try enter(&inventory, 2, other, attributes(other))
        #expect(try inventory.members(ofIOMMUGroup: 3) == [nic, other])
        #expect(try enter(&inventory, 3, other, attributes(other, group: 4)) == [.iommuGroup(other, 4)])
        #expect(try inventory.members(ofIOMMUGroup: 3) == [nic])
        #expect(try inventory.members(ofIOMMUGroup: 4) == [other])
        _ = try inventory.remove(other, isOurs: false)
        #expect(inventory.iommuGroupCount == 1)
    }

    @Test("Virtual functions are counted at their physical function") func virtualFunctions() throws {
        var inventory = Inventory()
        _ = try enter(&inventory, 1, nic, attributes(nic))
        // The link to the physical function comes after the function.
        _ = try enter(&inventory, 2, other, attributes(other))
        #expect(
            try enter(&inventory, 3, other, attributes(other, physical: nic)) == [.virtualFunctions(nic, count: 1)])
        #expect(try inventory.virtualFunctions(of: nic) == [other])
        #expect(
            try enter(&inventory, 4, other, nil) == [.removed(other), .virtualFunctions(nic, count: 0)])
        #expect(try inventory.virtualFunctions(of: nic).isEmpty)
    }

    @Test("What was ours stays as gone, once, until something is at its address again") func gone() throws {
        var inventory = Inventory()
        _ = try enter(&inventory, 1, nic, attributes(nic, driver: "vfio-pci"), bound: true)
        #expect(try enter(&inventory, 2, nic, nil, ours: true) == [.removed(nic)])
        let device = try #require(try inventory[nic])
        #expect(device.isGone && device.driver == nil && device.attributes.names.device == "nic")
        #expect(inventory.iommuGroupCount == 0)
        #expect(try enter(&inventory, 3, nic, nil, ours: true).isEmpty)
        #expect(try enter(&inventory, 4, nic, attributes(nic)) == [.added(nic, name: "nic")])
        #expect(try inventory[nic]?.isGone == false)
    }

    @Test("What configuration space said counts for the function that said it, not for the next at its address")
    func configuration() throws {
        var inventory = Inventory()
        let found = try #require(DeviceConfiguration(ConfigSpace([0x86, 0x80])))
        _ = try enter(&inventory, 1, nic, attributes(nic))
        #expect(inventory.enter(found, of: try nic, arrival: 1))
        #expect(!inventory.enter(found, of: try nic, arrival: 1))
        _ = try enter(&inventory, 2, nic, attributes(nic, driver: "e1000e"), bound: true)
        #expect(try inventory[nic]?.configuration == found)
        #expect(
            try enter(&inventory, 3, nic, attributes(nic, device: 0x1533))
                == [.replaced(nic, name: "nic"), .driver(nic, from: "e1000e", to: nil)])
        #expect(try inventory[nic]?.configuration == nil)
        #expect(!inventory.enter(found, of: try nic, arrival: 1))
        #expect(try inventory[nic]?.configuration == nil)
    }

    @Test("A function is in the slot that holds it, a bridge above it, or its physical function") func slots() throws {
        var inventory = Inventory()
        inventory.slots = [try #require(PCISlot(name: "7", address: "0000:01:00"))]
        let virtual = try #require(PCIAddress("0000:02:10.0"))
        _ = try enter(&inventory, 1, nic, attributes(nic))
        _ = enter(&inventory, 2, virtual, attributes(virtual, physical: try nic))
        #expect(inventory.slot(of: try #require(try inventory[nic])) == "7")
        #expect(inventory.slot(of: try #require(inventory[virtual])) == "7")
        _ = enter(&inventory, 3, virtual, attributes(virtual))
        #expect(inventory.slot(of: try #require(inventory[virtual])) == nil)
    }
}
