internal import PCI

// The IOMMU group as the unit that VFIO gives away.
extension Planner {
    /// The other members of the IOMMU group of a function that keep VFIO from opening it, by their drivers, ascending.
    func siblingsInUse(of address: PCIAddress) -> [(member: PCIAddress, driver: String)] {
        guard let group = sysfs.iommuGroup(of: address) else { return [] }
        return sysfs.members(ofIOMMUGroup: group).compactMap { member in
            guard member != address, let driver = sysfs.driver(of: member), !HostDrivers.leavesDMAToOthers(driver)
            else { return nil }
            return (member, driver)
        }
    }

    /// What binds the siblings in use too, and what stands against that: each of them, and what the host uses it for.
    func siblingsPlan(of address: PCIAddress) throws(PassthroughError) -> Plan {
        var plan = Plan(steps: [], blockers: [])
        for (member, driver) in siblingsInUse(of: address) {
            plan.steps += bindSteps(member, driver: driver)
            let remedy =
                "Consent to it, and \(member) is bound along and given back along. Or unbind it from \(driver), or move"
                + " the device to another slot."
            plan.blockers.append(
                siblingBlocker(
                    member, driver: driver, with: address, iommuGroup: root.sysfs.iommuGroup(of: address),
                    remedy: remedy))
            let own = deviceBlockers(member, driver: driver) + (try hostUses(member))
            plan.blockers += own.map { blocker in
                var blocker = blocker
                blocker.member = member
                return blocker
            }
        }
        return plan
    }

    /// Names a sibling in use.
    func siblingBlocker(
        _ member: PCIAddress, driver: String, with address: PCIAddress, iommuGroup: Int?, remedy: String
    ) -> Blocker {
        let group = iommuGroup.map { " \($0)" } ?? ""
        return Blocker(
            code: .siblingInUse,
            message: "\(member) shares IOMMU group\(group) with \(address) and is in use by driver \(driver).",
            evidence: root.sysfs.path(of: member, "driver") + ": \(driver)", remedy: remedy, member: member)
    }
}
