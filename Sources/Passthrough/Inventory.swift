internal import InterruptSources
internal import LinuxSystem
internal import Logging
internal import PCI

/// What the host's devices are and do, read now. Blocks, so it is called on a lane.
struct Inventory: Sendable {
    /// What vfiod itself knows of a device.
    struct Knowledge: Sendable {
        var record: DeviceRecord?
        var operation: OperationState?
    }

    let root: HostRoot
    let planner: Planner
    let liveGroups: LiveGroups
    let logger: Logger

    private var sysfs: Sysfs { root.sysfs }

    func list(_ knowledge: [PCIAddress: Knowledge]) -> [DeviceSummary] {
        let functions = addresses().compactMap { sysfs.function($0) }
        let names = names(functions)
        return zip(functions, names).map { summary($0, $1, knowledge[$0.address] ?? Knowledge()) }
    }

    func details(
        _ address: PCIAddress, _ knowledge: Knowledge, driverOverride: String?
    ) throws(PassthroughError) -> DeviceDetails {
        let function = try function(address)
        let names = names([function])
        let group = sysfs.iommuGroup(of: address)
        let members = group.map { sysfs.members(ofIOMMUGroup: $0) } ?? []
        let total = sysfs.totalVirtualFunctions(of: address)
        return DeviceDetails(
            summary: summary(function, names.first ?? PCINames(numbersOf: function), knowledge),
            subsystemVendorID: function.subsystemVendorID, subsystemDeviceID: function.subsystemDeviceID,
            revision: function.revision, numaNode: sysfs.numaNode(of: address), driverOverride: driverOverride,
            resetMethods: sysfs.resetMethods(of: address), powerControl: sysfs.text(address, "power/control"),
            virtualFunctions: total == nil ? nil : sysfs.virtualFunctions(of: address).count,
            totalVirtualFunctions: total,
            iommuGroupMembers: members.map { IOMMUGroupMember(address: $0, driver: sysfs.driver(of: $0)) },
            bindPlan: try planner.bindPlan(address, isOurs: knowledge.record?.phase == .bound),
            recorded: knowledge.record?.before.attributes, operation: knowledge.operation)
    }

    func interrupts(_ address: PCIAddress) throws(PassthroughError) -> [InterruptGroupState] {
        _ = try function(address)
        let table = InterruptTable((try? readText(root.proc("interrupts"), limit: 1 << 26)) ?? "")
        let rows = table.rows.filter { $0.address == address }
        let counts = counts(address)
        return InterruptType.allCases.map { type in
            let count = counts[type]
            let connected = rows.filter { $0.type == type }
            var byIndex = Dictionary(connected.map { ($0.index, $0) }, uniquingKeysWith: { first, _ in first })
            if var vectors = liveGroups.vectors(address, type) {
                for position in vectors.indices {
                    let row = byIndex.removeValue(forKey: vectors[position].index)
                    vectors[position].hostInterrupt = row?.interrupt
                    vectors[position].hostCount = row?.count
                }
                return InterruptGroupState(type: type, count: count, state: "live", vectors: vectors)
            }
            if connected.isEmpty {
                return InterruptGroupState(
                    type: type, count: count, state: count == 0 ? "absent" : "configured", vectors: [])
            }
            // Somebody else's group: masks and pending bits are known to its owner only.
            let vectors = (0..<max(count, (byIndex.keys.max() ?? 0) + 1)).map { index in
                InterruptVectorState(
                    index: index, wired: byIndex[index] != nil, masked: false, pending: false,
                    hostInterrupt: byIndex[index]?.interrupt, hostCount: byIndex[index]?.count)
            }
            return InterruptGroupState(type: type, count: count, state: "live", vectors: vectors)
        }
    }

    private func function(_ address: PCIAddress) throws(PassthroughError) -> PCIFunction {
        guard let function = sysfs.function(address) else { throw .deviceNotFound(address.description) }
        return function
    }

    private func addresses() -> [PCIAddress] {
        do throws(PCILibraryError) {
            return try PCILibrary(sysfs: sysfs.root).addresses()
        } catch {
            // It gives up on the whole bus for one entry that is no address.
            logger.warning("libpci cannot scan the bus: \(error)")
            return sysfs.addresses()
        }
    }

    private func names(_ functions: [PCIFunction]) -> [PCINames] {
        do throws(PCILibraryError) {
            return try PCILibrary.names(of: functions)
        } catch {
            logger.warning("pci.ids cannot be used: \(error)")
            return functions.map { PCINames(numbersOf: $0) }
        }
    }

    private func summary(_ function: PCIFunction, _ names: PCINames, _ knowledge: Knowledge) -> DeviceSummary {
        let address = function.address
        let driver = sysfs.driver(of: address)
        let state: DeviceState
        if knowledge.operation != nil {
            state = .busy
        } else if let driver, HostDrivers.isVFIO(driver) {
            state = knowledge.record != nil ? .bound : .foreign
        } else {
            state = .available
        }
        return DeviceSummary(
            address: address, name: names.device, className: names.kind, vendorID: function.vendorID,
            deviceID: function.deviceID, classCode: function.classCode, driver: driver,
            iommuGroup: sysfs.iommuGroup(of: address), interrupts: counts(address), state: state)
    }

    private func counts(_ address: PCIAddress) -> InterruptCounts {
        let config = sysfs.configSpace(of: address)
        return InterruptCounts(
            legacy: config.hasInterruptPin ? 1 : 0, msi: config.msiVectors, msix: config.msixVectors)
    }
}

extension InterruptCounts {
    subscript(_ type: InterruptType) -> Int {
        switch type {
        case .legacy: legacy
        case .msi: msi
        case .msix: msix
        }
    }
}

extension PCINames {
    /// For a host without pci.ids.
    init(numbersOf function: PCIFunction) {
        self.init(
            device: "Vendor \(hex(UInt32(function.vendorID), 4)) Device \(hex(UInt32(function.deviceID), 4))",
            kind: "Class \(hex(function.classCode >> 8, 4))")
    }
}
