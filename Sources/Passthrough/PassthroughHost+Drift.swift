internal import Logging
internal import PCI

// Drift: VFIO opens no device of an IOMMU group that has a member with a host driver, and the kernel lets none come
// while it is open. In between it can.
extension PassthroughHost {
    /// The event in the journal of a member of a bound device's IOMMU group that comes to a host driver.
    static let driftEvent = "iommu-group-drift"

    /// What stands against the use of a device that is bound: the members of its IOMMU group with a host driver.
    func drift(around address: PCIAddress) -> [Blocker] {
        guard records[address]?.phase == .bound, isIdle(address),
            let group = inventory[address]?.attributes.iommuGroup
        else { return [] }
        return inventory.members(ofIOMMUGroup: group).compactMap { member in
            guard member != address, isIdle(member), let driver = inventory[member]?.driver,
                !HostDrivers.leavesDMAToOthers(driver)
            else { return nil }
            return planner.siblingBlocker(
                member, driver: driver, with: address, iommuGroup: group,
                remedy: "Unbind it from \(driver). Or restore \(address) and bind it again, with consent to \(member).")
        }
    }

    /// Warns, and tells, of drift that came or went with a change of a device: its own, and that of the other members of its
    /// IOMMU group.
    func followDrift(around address: PCIAddress) {
        var affected = Set(drifts.filter { $0.key == address || $0.value[address] != nil }.keys)
        if let group = inventory[address]?.attributes.iommuGroup {
            affected.formUnion(inventory.members(ofIOMMUGroup: group))
        }
        for device in affected.sorted() where isIdle(device) { followDrift(of: device) }
    }

    /// Warns of what came before events were followed.
    func followDrift() {
        for address in records.keys.sorted() where isIdle(address) { followDrift(of: address) }
    }

    private func followDrift(of address: PCIAddress) {
        let before = drifts[address] ?? [:]
        // What a member that is being worked on comes to, its end will tell.
        var now = before.filter { !isIdle($0.key) && records[address] != nil }
        for blocker in drift(around: address) { if let member = blocker.member { now[member] = blocker } }
        drifts[address] = now.isEmpty ? nil : now
        for (member, blocker) in before.sorted(by: { $0.key < $1.key }) where now[member] == nil {
            followers.tell(DeviceEvent(.driftEnded, address, drift: blocker))
        }
        for (member, blocker) in now.sorted(by: { $0.key < $1.key }) where before[member] == nil {
            warn(of: blocker, from: member, at: address)
            followers.tell(DeviceEvent(.driftBegun, address, drift: blocker))
        }
    }

    private func warn(of blocker: Blocker, from member: PCIAddress, at address: PCIAddress) {
        logger.warning(
            "\(address), which is bound, cannot be opened any more: \(blocker.message)",
            metadata: ["event": "\(PassthroughHost.driftEvent)", "device": "\(address)", "member": "\(member)"])
    }
}
