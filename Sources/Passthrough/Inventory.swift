internal import PCI

/// The PCI functions of this host as they were last read, and how they hang together. Memory only: it opens no file.
struct Inventory: Sendable {
    /// A function.
    struct Device: Sendable {
        var attributes: DeviceAttributes
        /// The driver that has taken it.
        var driver: String?
        /// From its configuration space; nil as long as that has not answered.
        var configuration: DeviceConfiguration?
        /// The reading that brought it.
        let arrival: UInt64
        /// Removed from the host while vfiod had it; what is here is what it was.
        var isGone = false

        var address: PCIAddress { attributes.function.address }
    }

    private(set) var devices: [PCIAddress: Device] = [:]
    var slots: [PCISlot] = []
    private var iommuGroups: [Int: Set<PCIAddress>] = [:]
    private var virtualFunctions: [PCIAddress: Set<PCIAddress>] = [:]
    /// The last reading of each address, of those that are gone too: an older one may still be on its way.
    private var lastReadings: [PCIAddress: UInt64] = [:]

    subscript(address: PCIAddress) -> Device? { devices[address] }

    /// All addresses, ascending.
    var addresses: [PCIAddress] { devices.keys.sorted() }

    /// How many IOMMU groups there are.
    var iommuGroupCount: Int { iommuGroups.count }

    /// The functions of an IOMMU group, ascending.
    func members(ofIOMMUGroup group: Int) -> [PCIAddress] { (iommuGroups[group] ?? []).sorted() }

    /// The virtual functions of a physical function, ascending.
    func virtualFunctions(of address: PCIAddress) -> [PCIAddress] { (virtualFunctions[address] ?? []).sorted() }

    /// The physical slot that a function is in, itself or by what it is behind.
    func slot(of device: Device) -> String? {
        var route = device.attributes.route
        // A virtual function may be on a bus of its own, which no slot names.
        if let physical = device.attributes.physicalFunction { route = devices[physical]?.attributes.route ?? route }
        for address in route.reversed() {
            if let slot = slots.first(where: { $0.holds(address) }) { return slot.name }
        }
        return nil
    }

    /// Enters a reading, unless a later one is in already. `driverIsBound`: whether the driver that was read has taken
    /// the function for sure. The `driver` link stands while a driver is asked, and goes without an event if that one
    /// refuses; if it accepts, a bind event follows. So a new driver counts from then on.
    ///
    /// `isOurs`: whether vfiod has the function bound or works on it; it is then kept as gone if it is not there.
    mutating func enter(_ reading: DeviceReading, driverIsBound: Bool, isOurs: Bool) -> [InventoryChange] {
        let address = reading.address
        guard reading.number > lastReadings[address] ?? 0 else { return driverIsBound ? confirmDriver(reading) : [] }
        guard let attributes = reading.attributes else {
            return remove(address, isOurs: isOurs, number: reading.number)
        }
        lastReadings[address] = reading.number
        let known = devices[address].flatMap { $0.isGone ? nil : $0 }
        let isSame = known.map { $0.attributes.function == attributes.function } ?? false
        var device = Device(attributes: attributes, arrival: reading.number)
        if isSame, let known { device = known }
        device.attributes = attributes
        device.driver = driverIsBound || attributes.driver == known?.driver ? attributes.driver : nil
        devices[address] = device
        join(attributes, insteadOf: known?.attributes)
        return changes(from: known, to: device)
    }

    /// An earlier reading knows that the driver which the later one saw has taken the function.
    private mutating func confirmDriver(_ reading: DeviceReading) -> [InventoryChange] {
        guard let known = devices[reading.address], !known.isGone, let attributes = reading.attributes,
            known.attributes.function == attributes.function, known.attributes.driver == attributes.driver
        else { return [] }
        var device = known
        device.driver = attributes.driver
        devices[reading.address] = device
        return changes(from: known, to: device)
    }

    /// Enters a removal that an event told of. `number`: of the reading that saw it, where there is one.
    mutating func remove(_ address: PCIAddress, isOurs: Bool, number: UInt64? = nil) -> [InventoryChange] {
        if let number { lastReadings[address] = number }
        guard let device = devices[address], !device.isGone else { return [] }
        leave(device.attributes)
        if isOurs {
            devices[address]?.isGone = true
            devices[address]?.driver = nil
        } else {
            devices[address] = nil
        }
        return [.removed(address)] + virtualFunctionChange(device.attributes)
    }

    /// Enters what a function's configuration space says, unless another function is in its place by now. Returns whether
    /// that is new.
    mutating func enter(_ configuration: DeviceConfiguration, of address: PCIAddress, arrival: UInt64) -> Bool {
        guard let device = devices[address], device.arrival == arrival, device.configuration != configuration else {
            return false
        }
        devices[address]?.configuration = configuration
        return true
    }

    private mutating func join(_ attributes: DeviceAttributes, insteadOf old: DeviceAttributes?) {
        if let old { leave(old) }
        let address = attributes.function.address
        if let group = attributes.iommuGroup { iommuGroups[group, default: []].insert(address) }
        if let physical = attributes.physicalFunction { virtualFunctions[physical, default: []].insert(address) }
    }

    private mutating func leave(_ attributes: DeviceAttributes) {
        let address = attributes.function.address
        if let group = attributes.iommuGroup {
            iommuGroups[group]?.remove(address)
            if iommuGroups[group]?.isEmpty ?? false { iommuGroups[group] = nil }
        }
        if let physical = attributes.physicalFunction {
            virtualFunctions[physical]?.remove(address)
            if virtualFunctions[physical]?.isEmpty ?? false { virtualFunctions[physical] = nil }
        }
    }

    private func changes(from old: Device?, to new: Device) -> [InventoryChange] {
        let address = new.address
        guard let old else {
            return [.added(address, name: new.attributes.names.device)] + virtualFunctionChange(new.attributes)
        }
        var found: [InventoryChange] = []
        if old.attributes.function != new.attributes.function {
            found.append(.replaced(address, name: new.attributes.names.device))
        }
        if old.driver != new.driver { found.append(.driver(address, from: old.driver, to: new.driver)) }
        if old.attributes.iommuGroup != new.attributes.iommuGroup {
            found.append(.iommuGroup(address, new.attributes.iommuGroup))
        }
        if old.attributes.physicalFunction != new.attributes.physicalFunction {
            // The link goes before the function does.
            found += virtualFunctionChange(old.attributes) + virtualFunctionChange(new.attributes)
        }
        return found
    }

    private func virtualFunctionChange(_ attributes: DeviceAttributes) -> [InventoryChange] {
        guard let physical = attributes.physicalFunction else { return [] }
        return [.virtualFunctions(physical, count: virtualFunctions[physical]?.count ?? 0)]
    }
}

/// What became different in the inventory.
enum InventoryChange: Hashable, Sendable, CustomStringConvertible {
    case added(PCIAddress, name: String)
    case removed(PCIAddress)
    /// Another function is at its address, without an event that told.
    case replaced(PCIAddress, name: String)
    case driver(PCIAddress, from: String?, to: String?)
    case iommuGroup(PCIAddress, Int?)
    case virtualFunctions(PCIAddress, count: Int)

    var description: String {
        switch self {
        case .added(let address, let name): "\(address) has come: \(name)"
        case .removed(let address): "\(address) is gone"
        case .replaced(let address, let name): "\(address) is another device now: \(name)"
        case .driver(let address, let old, let new):
            "\(address) went from \(old ?? "no driver") to \(new ?? "no driver")"
        case .iommuGroup(let address, let group):
            "\(address) is in " + (group.map { "IOMMU group \($0)" } ?? "no IOMMU group")
        case .virtualFunctions(let address, let count): "\(address) has \(count) virtual functions"
        }
    }
}
