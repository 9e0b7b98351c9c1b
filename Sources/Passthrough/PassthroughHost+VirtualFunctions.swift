internal import LinuxSystem
public import PCI

// SR-IOV: a physical function keeps its driver, which makes virtual functions for it.
extension PassthroughHost {
    /// The name of the operation that makes virtual functions.
    static let creating = "virtual-functions"

    /// Gives a physical function `count` virtual functions, for nobody yet; Restore gives it back those that it had.
    /// Does nothing if it has so many.
    public func setVirtualFunctions(
        _ address: PCIAddress, to count: Int, consent: Set<Consent>, dryRun: Bool, progress: @escaping ProgressReport
    ) async throws(PassthroughError) -> Plan {
        try await setVirtualFunctions(
            address, to: count, consent: consent, dryRun: dryRun, appliedAs: nil, progress: progress)
    }

    /// As the above. `appliedAs`: the device's name, if Apply makes them.
    func setVirtualFunctions(
        _ address: PCIAddress, to count: Int, consent: Set<Consent>, dryRun: Bool, appliedAs: String?,
        progress: @escaping ProgressReport
    ) async throws(PassthroughError) -> Plan {
        try mustExist(address)
        try mustBeIdle(address)
        let record = records[address]
        if let record, record.phase != .created || record.virtualFunctions != count {
            let reason =
                switch record.phase {
                case .bound: "\(address) is bound to \(Planner.driver)."
                case .created: "vfiod made other virtual functions of \(address)."
                default: "An earlier operation did not end well, at \(record.step)."
                }
            throw .wrongState(
                address, state: record.phase.rawValue, needed: DeviceState.available.rawValue,
                message: "\(reason) Restore it first.")
        }
        let (planner, taken) = (planner, takenFunctions(of: address))
        let plan = try await readingLane.run { () throws(PassthroughError) in
            try planner.virtualFunctionsPlan(address, count: count, taken: taken)
        }
        if plan.steps.isEmpty && plan.blockers.isEmpty { return plan }
        // What was there before vfiod made them stands in that record only.
        if let record {
            throw .wrongState(
                address, state: record.phase.rawValue, needed: DeviceState.available.rawValue,
                message: "Somebody else changed the virtual functions that vfiod made of \(address). Restore it first.")
        }
        if dryRun { return plan }
        let refused = consent.unmet(plan.blockers, on: address)
        if !refused.isEmpty { throw .refused(address, operation: PassthroughHost.creating, refused) }
        try mustBeAsPlanned(address, nil, taken)
        let run = try begin(PassthroughHost.creating, on: address, progress: progress) { operation in
            var transition = self.transition(address, operation)
            transition.appliedAs = appliedAs
            return transition.makeVirtualFunctions(count)
        }
        watch(run, of: address)
        try await wait(for: run, of: address)
        await lookAtVirtualFunctions(of: address)
        return plan
    }

    /// Enters which there are now: who asked for them sees them when the call returns.
    func lookAtVirtualFunctions(of address: PCIAddress) async {
        let now = sysfs.virtualFunctions(of: address)
        for function in Set(now + inventory.virtualFunctions(of: address)).sorted() { await look(at: function) }
    }

    /// What would keep the virtual functions that vfiod made from going.
    func restoreVirtualFunctionsPlan(
        _ address: PCIAddress, _ record: DeviceRecord
    ) async throws(PassthroughError) -> Plan {
        let (planner, taken) = (planner, takenFunctions(of: address))
        let plan = try await readingLane.run { () throws(PassthroughError) in
            try planner.restoreVirtualFunctionsPlan(address, record, taken: taken)
        }
        try mustBeAsPlanned(address, record, taken)
        return plan
    }

    /// A virtual function must not go while it is worked on, nor be taken while it goes.
    func mustBeIdle(physicalFunctionOf address: PCIAddress) throws(PassthroughError) {
        if let physical = sysfs.physicalFunction(of: address) { try mustBeIdle(physical) }
    }

    private func takenFunctions(of address: PCIAddress) -> Set<PCIAddress> {
        Set(sysfs.virtualFunctions(of: address).filter { records[$0] != nil || running[$0] != nil })
    }

    private func mustBeAsPlanned(
        _ address: PCIAddress, _ record: DeviceRecord?, _ taken: Set<PCIAddress>
    ) throws(PassthroughError) {
        try mustBeIdle(address)
        guard records[address] == record, takenFunctions(of: address) == taken else {
            throw .wrongState(
                address, state: "changed", needed: "as it was planned for",
                message: "Another operation changed \(address) or its virtual functions meanwhile. Try again.")
        }
    }
}
