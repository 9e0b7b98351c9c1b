internal import PCI
internal import Passthrough
internal import VfiodAPI

extension Wire.Details {
    init(_ details: DeviceDetails) {
        let live = details.live
        self.init(
            device: Wire.Device(details.summary),
            subsystemVendorId: hex(UInt32(details.subsystemVendorID), 4),
            subsystemDeviceId: hex(UInt32(details.subsystemDeviceID), 4), revision: hex(UInt32(details.revision), 2),
            serialNumber: details.configuration?.serialNumber?.description, slot: details.slot,
            path: details.route.map(\.description), numaNode: details.numaNode, driverOverride: live.driverOverride,
            resetMethods: details.resetMethods, powerControl: live.powerControl, powerState: live.powerState,
            link: live.link.map(Wire.Link.init), command: live.command.map(Wire.Command.init),
            regions: details.regions.map(Wire.Region.init),
            capabilities: details.configuration?.capabilities.map(Wire.Capability.init) ?? [],
            virtualFunctions: details.totalVirtualFunctions == nil ? nil : details.virtualFunctions.count,
            totalVirtualFunctions: details.totalVirtualFunctions,
            virtualFunctionAddresses: details.virtualFunctions.map(\.description),
            physicalFunction: details.physicalFunction?.description,
            iommuGroupMembers: details.iommuGroupMembers.map {
                Wire.IOMMUGroupMember(
                    address: $0.address.description, driver: $0.driver, onBehalfOf: $0.onBehalfOf?.description)
            },
            reservedRegions: details.reservedRegions.map(Wire.ReservedRegion.init),
            holders: details.holders.map(Wire.Holder.init), hostUses: details.hostUses.map(Wire.Blocker.init),
            unread: live.unread.map(\.rawValue).sorted(), bindPlan: Wire.Plan(details.bindPlan),
            drift: details.drift.map(Wire.Blocker.init), quarantine: details.quarantine,
            notes: details.notes.map(Wire.Blocker.init), recorded: details.recorded,
            operation: details.operation.map(Wire.Operation.init))
    }
}

extension Wire.Operation {
    init(_ state: OperationState) {
        self.init(name: state.name, step: state.step, since: state.since, note: state.note)
    }
}

extension Wire.Region {
    init(_ region: PCIRegion) {
        self.init(
            index: region.index, space: region.space.rawValue, address: hex64(region.address),
            size: Int(clamping: region.size), wide: region.is64Bit, prefetchable: region.isPrefetchable)
    }
}

extension Wire.Capability {
    init(_ capability: DeviceConfiguration.Capability) {
        self.init(
            id: hex(UInt32(capability.id), capability.isExtended ? 4 : 2), extended: capability.isExtended,
            offset: capability.offset,
            name: capabilityName(capability.id, isExtended: capability.isExtended))
    }
}

extension Wire.Link {
    init(_ link: PCILink) {
        self.init(
            speed: link.speed, width: link.width, maxSpeed: link.maximumSpeed, maxWidth: link.maximumWidth)
    }
}

extension Wire.Command {
    init(_ command: ConfigSpace.Command) {
        self.init(
            io: command.answersIO, memory: command.answersMemory, busMaster: command.isBusMaster,
            intxDisabled: command.disablesINTx)
    }
}

extension Wire.ReservedRegion {
    init(_ region: IOMMUReservedRegion) {
        self.init(first: hex64(region.first), last: hex64(region.last), kind: region.kind)
    }
}

extension Wire.Holder {
    init(_ holder: Holder) {
        self.init(
            processId: holder.processID, command: holder.command, unit: holder.unit, descriptors: holder.descriptors)
    }
}

private func hex64(_ value: UInt64) -> String { String(value, radix: 16) }
