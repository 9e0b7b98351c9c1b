internal import Logging
internal import PCI

// Who follows the devices, and what they are told.
extension PassthroughHost {
    /// The devices as they are now, and all that happens to them from then on.
    public func follow() async throws(PassthroughError) -> DeviceFeed {
        await takeInventory()
        // Before the devices are looked up: an operation tells its steps from its own thread.
        let events = followers.add()
        return DeviceFeed(devices: inventory.addresses.compactMap(status), events: events)
    }

    /// Tells of an event after which the device is as it is now.
    func tell(
        _ kind: DeviceEvent.Kind, _ address: PCIAddress, operation: OperationState? = nil,
        failure: PassthroughError? = nil
    ) {
        guard followers.count > 0 else { return }
        followers.tell(
            DeviceEvent(kind, address, status: status(address), operation: operation, failure: failure))
    }

    /// Logs what became different and tells of it, once for each device.
    func tell(_ changes: [InventoryChange]) {
        var told: [InventoryChange] = []
        for change in changes {
            logger.info("\(change)")
            if !told.contains(where: { $0.event == change.event && $0.address == change.address }) {
                tell(change.event, change.address)
                told.append(change)
            }
            followDrift(around: change.address)
        }
    }

    private func status(_ address: PCIAddress) -> DeviceStatus? {
        guard let device = inventory[address] else { return nil }
        return DeviceStatus(
            summary: summary(device),
            virtualFunctions: device.attributes.totalVirtualFunctions.map { _ in
                inventory.virtualFunctions(of: address).count
            },
            operation: running[address]?.operation.snapshot,
            drift: (drifts[address] ?? [:]).sorted { $0.key < $1.key }.map(\.value))
    }
}

extension InventoryChange {
    fileprivate var event: DeviceEvent.Kind {
        switch self {
        case .added: .added
        case .removed: .removed
        case .replaced, .driver, .iommuGroup, .virtualFunctions: .changed
        }
    }

    fileprivate var address: PCIAddress {
        switch self {
        case .added(let address, _), .removed(let address), .replaced(let address, _), .driver(let address, _, _),
            .iommuGroup(let address, _), .virtualFunctions(let address, _):
            address
        }
    }
}
