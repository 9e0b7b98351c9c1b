internal import PCI

// What a lease does, and what stands against it.
extension Planner {
    /// The steps of an attach; `terms` are those asked for, if any were.
    func attachSteps(_ address: PCIAddress, _ terms: LeaseTerms?, socketPath: String) -> [Plan.Step] {
        let owner = terms?.owner.description
        return [
            Plan.Step(action: "record", target: "lease of \(address)", value: owner),
            Plan.Step(action: "listen", target: socketPath, value: owner),
        ]
    }

    /// The steps of a detach.
    func detachSteps(_ address: PCIAddress, socketPath: String, hasSession: Bool) -> [Plan.Step] {
        let ends = hasSession ? SessionEndStep.allCases : []
        return ends.map { Plan.Step(action: $0.rawValue, target: "session of \(address)", value: nil) } + [
            Plan.Step(action: "close", target: socketPath, value: nil),
            Plan.Step(action: "record", target: "lease of \(address)", value: nil),
        ]
    }

    /// A device without any reset keeps what its last owner left in it: it goes to another one only with consent.
    func noResetBlockers(_ address: PCIAddress, lastOwner: LeaseOwner?, next: LeaseOwner?) -> [Blocker] {
        guard let lastOwner, let next, lastOwner != next, root.sysfs.resetMethods(of: address).isEmpty else {
            return []
        }
        return [
            Blocker(
                code: .noReset,
                message:
                    "\(address) cannot be reset, and \(lastOwner) had it last: \(next) would find what is left in it.",
                evidence: root.sysfs.path(of: address, "reset_method") + ": none",
                remedy: "Give it to the same owner, or switch its power off and on.")
        ]
    }

    /// A lease stands against an operation on `address`.
    func leasedBlocker(_ device: PCIAddress, _ terms: LeaseTerms, against address: PCIAddress) -> Blocker {
        let share = device == address ? "" : ", which shares its IOMMU group,"
        return Blocker(
            code: .leased, message: "\(device)\(share) is given to \(terms.owner), as \(terms.mode.rawValue).",
            evidence: "the lease in the record of \(device)", remedy: "End that: vfioctl detach \(device)",
            member: device == address ? nil : device)
    }
}
