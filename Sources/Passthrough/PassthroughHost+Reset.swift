internal import LinuxSystem
internal import Logging
public import PCI
internal import VFIO

// Resets, and what becomes of devices that do not come out of them whole.
extension PassthroughHost {
    /// The name of the operation.
    static let resetting = "reset"

    /// Resets a device that vfiod has bound and nobody uses, with what has to be reset along.
    public func reset(
        _ address: PCIAddress, method: String?, consent: Set<Consent>, dryRun: Bool, progress: @escaping ProgressReport
    ) async throws(PassthroughError) -> Plan {
        let record = try await mustBeBound(address)
        let planner = planner
        let bound = Set(records.filter { $0.value.phase == .bound }.keys)
        let (token, taken) = (token(for: address), takenFunctions(of: address))
        let (chosen, found) = try await readingLane.run { () throws(PassthroughError) in
            let chosen = try planner.resetMethod(method, of: address)
            var plan = planner.resetPlan(address, chosen, bound: bound)
            if record.parts != nil { plan.blockers += try planner.virtualFunctionBlockers(of: address, taken: taken) }
            return (chosen, plan)
        }
        var plan = found
        // Its owner resets a device that is given to one.
        for device in [address] + (chosen?.others ?? []) { plan.blockers += leasedBlockers(of: device) }
        if dryRun { return plan }
        let members = SiblingRecords(chosen?.others ?? [], records)
        for member in members.addresses { try mustBeIdle(member) }
        let refused = consent.unmet(plan.blockers, on: address)
        if !refused.isEmpty { throw .refused(address, operation: PassthroughHost.resetting, refused) }
        guard records[address] == record, takenFunctions(of: address) == taken,
            members.earlier.count == members.addresses.count,
            members.earlier.allSatisfy({ $0.record.phase == .bound })
        else {
            throw .wrongState(
                address, state: await stateName(of: address), needed: DeviceState.bound.rawValue,
                message: "Another operation changed \(address) meanwhile, or what is reset along.")
        }
        let run = try begin(PassthroughHost.resetting, on: address, with: members, progress: progress) { operation in
            self.deviceReset(address, chosen, members, token, operation).run(record)
        }
        try await wait(for: run, of: address)
        return plan
    }

    /// Looks in the background at a device whose reset vfiod did not live to end.
    func judgeReset(of address: PCIAddress, _ record: DeviceRecord) {
        do throws(PassthroughError) {
            _ = try begin(PassthroughHost.resetting, on: address) { operation in
                self.deviceReset(address, nil, SiblingRecords([], [:]), nil, operation).judge(interrupted: record)
            }
        } catch {
            logger.error("the reset of \(address) cannot be judged: \(error)")
        }
    }

    private nonisolated func deviceReset(
        _ address: PCIAddress, _ method: ResetMethod?, _ members: SiblingRecords, _ token: VFIOToken?,
        _ operation: RunningOperation
    ) -> DeviceReset {
        DeviceReset(
            address: address, method: method, members: members, token: token, planner: planner, writer: writer,
            kernel: kernel, log: log, operation: operation)
    }
}
