internal import LinuxSystem
public import PCI

// What can be asked about devices.
extension PassthroughHost: DeviceOperations {
    /// Every PCI function of the host, in the order of addresses, from memory.
    public func list() async throws(PassthroughError) -> [DeviceSummary] {
        await takeInventory()
        return inventory.addresses.compactMap { inventory[$0].map(summary) }
    }

    /// All there is to know about one device. What changes without an event is read; what the device keeps back for
    /// longer than the deadline is left out and named.
    public func describe(_ address: PCIAddress) async throws(PassthroughError) -> DeviceDetails {
        await takeInventory()
        await look(at: address)
        guard let found = inventory[address] else { throw .deviceNotFound(address.description) }
        var details = details(found)
        if found.isGone { return details }
        // An operation of our own holds the device lock for long.
        details.live = await live(running[address] == nil ? [.config, .link, .driverOverride] : [.config], of: address)
        details.configuration = inventory[address]?.configuration
        let (search, users, planner, sysfs) = (holderSearch, users(beside: address), planner, sysfs)
        let record = records[address]
        let known = details
        return try await readingLane.run { () throws(PassthroughError) in
            var details = known
            details.live.powerControl = sysfs.text(address, "power/control")
            details.live.powerState = sysfs.text(address, "power_state")
            if let group = details.summary.iommuGroup {
                details.reservedRegions = sysfs.reservedRegions(ofIOMMUGroup: group)
            }
            details.holders = search.holders(of: address, users: users)
            details.hostUses = try planner.hostUses(address)
            details.bindPlan = try planner.bindPlan(address, record)
            details.resetMethods = planner.resetMethods(of: address).map(\.name)
            details.notes = planner.isBridge(address) ? [] : planner.noResetBlocker(address).map { [$0] } ?? []
            return details
        }
    }

    /// The interrupt source groups of a device.
    public func interrupts(_ address: PCIAddress) async throws(PassthroughError) -> [InterruptGroupState] {
        await takeInventory()
        guard let device = inventory[address] else { throw .deviceNotFound(address.description) }
        let counts = device.configuration?.interrupts ?? InterruptCounts(legacy: 0, msi: 0, msix: 0)
        let states = InterruptStates(root: configuration.root, liveGroups: liveGroups)
        return await readingLane.run { states.groups(of: address, counts) }
    }

    private func details(_ device: Inventory.Device) -> DeviceDetails {
        let (attributes, address) = (device.attributes, device.address)
        let members = device.isGone ? [] : attributes.iommuGroup.map { inventory.members(ofIOMMUGroup: $0) } ?? []
        return DeviceDetails(
            summary: summary(device), subsystemVendorID: attributes.function.subsystemVendorID,
            subsystemDeviceID: attributes.function.subsystemDeviceID, revision: attributes.function.revision,
            configuration: device.configuration, slot: inventory.slot(of: device), route: attributes.route,
            numaNode: attributes.numaNode, regions: attributes.regions, resetMethods: attributes.resetMethods,
            totalVirtualFunctions: attributes.totalVirtualFunctions,
            virtualFunctions: inventory.virtualFunctions(of: address), physicalFunction: attributes.physicalFunction,
            iommuGroupMembers: members.map {
                IOMMUGroupMember(
                    address: $0, driver: inventory[$0]?.driver,
                    onBehalfOf: records[$0]?.onBehalfOf.flatMap { PCIAddress($0) })
            },
            drift: drift(around: address), quarantine: records[address]?.quarantine,
            recorded: records[address]?.before.attributes,
            operation: running[address]?.operation.snapshot)
    }

    func summary(_ device: Inventory.Device) -> DeviceSummary {
        let (attributes, function) = (device.attributes, device.attributes.function)
        return DeviceSummary(
            address: function.address, name: attributes.names.device, configuredName: configuredName(of: device),
            className: attributes.names.kind,
            vendorID: function.vendorID, deviceID: function.deviceID, classCode: function.classCode,
            driver: device.driver, iommuGroup: attributes.iommuGroup,
            interrupts: device.configuration?.interrupts ?? InterruptCounts(legacy: 0, msi: 0, msix: 0),
            state: state(of: device))
    }

    private func state(of device: Inventory.Device) -> DeviceState {
        if device.isGone { return .gone }
        if running[device.address] != nil { return .busy }
        if records[device.address]?.quarantine != nil { return .quarantined }
        guard let driver = device.driver, HostDrivers.isVFIO(driver) else { return .available }
        if records[device.address] != nil { return .bound }
        return device.attributes.physicalFunction.map(planner.divided.contains) ?? false ? .available : .foreign
    }
}
