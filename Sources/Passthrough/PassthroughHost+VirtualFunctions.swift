internal import LinuxSystem
internal import Logging
public import PCI
internal import VFIO

// SR-IOV: a physical function keeps its driver, which makes virtual functions for it. One that is bound has vfio-pci for
// that.
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
        if let record, record.phase == .bound {
            return try await divide(address, record, into: count, consent: consent, dryRun: dryRun, progress: progress)
        }
        if let record, record.phase != .created || record.virtualFunctions != count {
            let reason =
                switch record.phase {
                case .created: "vfiod made other virtual functions of \(address)."
                default: "An earlier operation did not end well, at \(record.step)."
                }
            throw .wrongState(
                address, state: record.phase.rawValue, needed: DeviceState.available.rawValue,
                message: "\(reason) Restore it first.")
        }
        let (planner, taken) = (planner, takenFunctions(of: address))
        let plan = try await readingLane.run { () throws(PassthroughError) in
            try planner.virtualFunctionsPlan(address, count: count, taken: taken, isBound: false)
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

    /// What opens a function, where vfio-pci has its physical function or it is one whose virtual functions vfio-pci made.
    func token(for address: PCIAddress) -> VFIOToken? {
        guard let record = records[sysfs.physicalFunction(of: address) ?? address], record.phase.isBound else {
            return nil
        }
        return record.token
    }

    /// Has vfio-pci make `count` virtual functions of a device that vfiod has bound and nobody uses.
    private func divide(
        _ address: PCIAddress, _ record: DeviceRecord, into count: Int, consent: Set<Consent>, dryRun: Bool,
        progress: @escaping ProgressReport
    ) async throws(PassthroughError) -> Plan {
        let taken = takenFunctions(of: address)
        var plan = try await divisionPlan(address, into: count)
        if plan.steps.isEmpty && plan.blockers.isEmpty { return plan }
        plan.blockers += (record.quarantineBlocker(address).map { [$0] } ?? []) + leasedBlockers(around: address)
        if dryRun { return plan }
        let refused = consent.unmet(plan.blockers, on: address)
        if !refused.isEmpty { throw .refused(address, operation: PassthroughHost.creating, refused) }
        try mustBeAsPlanned(address, record, taken)
        guard let group = sysfs.iommuGroup(of: address) else { throw .deviceNotFound(address.description) }
        let (hold, kernel) = (holdSearch(of: address), kernel)
        let run = try begin(PassthroughHost.creating, on: address, progress: progress) { operation in
            let holders = hold.run().blockers
            if !holders.isEmpty {
                return (record, .refused(address, operation: PassthroughHost.creating, holders))
            }
            return self.transition(address, operation).divide(record, into: count, iommuGroup: group, kernel)
        }
        watch(run, of: address)
        try await wait(for: run, of: address)
        await lookAtVirtualFunctions(of: address)
        return plan
    }

    /// What has vfio-pci make `count` virtual functions, once it has the device.
    func divisionPlan(_ address: PCIAddress, into count: Int) async throws(PassthroughError) -> Plan {
        let (planner, taken) = (planner, takenFunctions(of: address))
        return try await readingLane.run { () throws(PassthroughError) in
            try planner.virtualFunctionsPlan(address, count: count, taken: taken, isBound: true)
        }
    }

    /// Puts back how many virtual functions vfio-pci had made, again and again until that is done.
    func finishDividing(_ address: PCIAddress, _ record: DeviceRecord) {
        do throws(PassthroughError) {
            let run = try begin(PassthroughHost.creating, on: address, insisting: true) { operation in
                self.transition(address, operation).undoDividing(record)
            }
            watch(run, of: address)
        } catch {
            logger.error("the virtual functions of \(address) cannot be put back: \(error)")
        }
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

    func takenFunctions(of address: PCIAddress) -> Set<PCIAddress> {
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
