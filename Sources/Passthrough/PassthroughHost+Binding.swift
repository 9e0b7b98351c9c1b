internal import LinuxSystem
public import PCI

extension PassthroughHost {
    /// Binds to vfio-pci, with those siblings in use that `consent` names; does nothing if vfiod has bound it already.
    public func bind(
        _ address: PCIAddress, consent: Set<Consent>, dryRun: Bool, progress: @escaping ProgressReport
    ) async throws(PassthroughError) -> Plan {
        try await bind(address, consent: consent, dryRun: dryRun, mustBeFree: false, progress: progress)
    }

    /// As the above; with `mustBeFree`, a device that vfiod has is an error. `appliedAs`: its name, if Apply takes it.
    func bind(
        _ address: PCIAddress, consent: Set<Consent>, dryRun: Bool, mustBeFree: Bool, appliedAs: String? = nil,
        progress: @escaping ProgressReport
    ) async throws(PassthroughError) -> Plan {
        try mustExist(address)
        let planner = planner
        let record = records[address]
        if mustBeFree { try self.mustBeFree(address) }
        if dryRun {
            return try await readingLane.run { () throws(PassthroughError) in
                try planner.bindPlan(address, record)
            }
        }
        if let record, record.phase != .bound {
            throw .wrongState(
                address, state: record.phase.rawValue, needed: DeviceState.available.rawValue,
                message: "An earlier operation did not end well, at \(record.step). Restore puts the device back.")
        }
        let plan = Eventual<Plan>()
        try mustBeIdle(physicalFunctionOf: address)
        let siblings = try self.siblings(toBindWith: address, consent)
        let run = try begin("bind", on: address, with: siblings, progress: progress) { operation in
            var transition = self.transition(address, operation)
            transition.appliedAs = appliedAs
            do throws(PassthroughError) {
                let found = try planner.bindPlan(address, record)
                let refused = consent.unmet(found.blockers, on: address)
                if !refused.isEmpty { throw .refused(address, operation: "bind", refused) }
                plan.resolve(found)
                if found.steps.isEmpty { return (try self.asked(for: address, record, operation), nil) }
                transition.siblings = siblings.map { SiblingTransition($0, of: transition, inUse: found.siblingsInUse) }
            } catch {
                return (record, error)
            }
            return transition.bind(earlier: record)
        }
        watch(run, of: address)
        try await wait(for: run, of: address)
        return await plan.value()
    }

    /// Gives back what vfiod has bound, or goes on with what did not end well.
    public func restore(
        _ address: PCIAddress, dryRun: Bool, progress: @escaping ProgressReport
    ) async throws(PassthroughError) -> Plan {
        try mustExist(address)
        try mustBeIdle(address)
        guard let record = records[address] else {
            let state = await stateName(of: address)
            throw .wrongState(
                address, state: state, needed: DeviceState.bound.rawValue,
                message: "vfiod did not bind \(address), so it has nothing to give back.")
        }
        if let reason = reasonToClose(address, record) {
            throw .wrongState(
                address, state: "changed", needed: DeviceState.bound.rawValue,
                message:
                    "The record of \(address) is not about this device any more: \(reason). The next start of vfiod"
                    + " closes it.")
        }
        let planner = planner
        let siblings = try self.siblings(toGiveBackWith: address, record)
        let (users, taken) = (users(beside: address), takenFunctions(of: address))
        var plan = await readingLane.run { planner.restorePlan(address, record, siblings, users: users) }
        let refused: [Blocker]
        if record.virtualFunctions != nil {
            plan = try await restoreVirtualFunctionsPlan(address, record)
            refused = plan.blockers
        } else {
            let parts = try await readingLane.run { () throws(PassthroughError) in
                record.parts == nil ? [] : try planner.virtualFunctionBlockers(of: address, taken: taken)
            }
            refused = leasedBlockers(around: address) + parts
            plan.blockers += refused
        }
        if dryRun { return plan }
        if !refused.isEmpty { throw .refused(address, operation: "restore", refused) }
        guard records[address] == record, siblings.isCurrent(records), takenFunctions(of: address) == taken else {
            throw .wrongState(
                address, state: await stateName(of: address), needed: DeviceState.bound.rawValue,
                message: "Another operation changed \(address) meanwhile.")
        }
        let run = try begin("restore", on: address, with: siblings, progress: progress) { operation in
            let transition = self.transition(address, operation)
            do throws(PassthroughError) {
                let remaining = transition.putBack(try transition.beginRestore(of: record))
                let kept = SiblingTransition(siblings, of: transition).putBackAll()
                return (remaining.record, remaining.error ?? kept)
            } catch {
                return (record, error)
            }
        }
        watch(run, of: address)
        try await wait(for: run, of: address)
        if record.virtualFunctions != nil || record.parts != nil { await lookAtVirtualFunctions(of: address) }
        return plan
    }

    /// Runs `body` on the lane of a device that vfiod has bound and nobody holds, as its one operation. `body` may open
    /// the device, and must have closed it when it returns. Throws what `body` throws, `stillRunning` never.
    func withExclusive<Value: Sendable>(
        _ address: PCIAddress, operation name: String, progress: @escaping ProgressReport,
        _ body: @escaping @Sendable (RunningOperation) throws(PassthroughError) -> Value
    ) async throws(PassthroughError) -> Value {
        let record = try await mustBeBound(address)
        let against = (record.quarantineBlocker(address).map { [$0] } ?? []) + leasedBlockers(around: address)
        if !against.isEmpty { throw .refused(address, operation: name, against) }
        let hold = holdSearch(of: address)
        let outcome = Eventual<Result<Value, PassthroughError>>()
        let run = try begin(name, on: address, progress: progress) { operation in
            do throws(PassthroughError) {
                let blockers = hold.run().blockers
                if !blockers.isEmpty { throw .refused(address, operation: name, blockers) }
                outcome.resolve(.success(try body(operation)))
                return (record, nil)
            } catch {
                outcome.resolve(.failure(error))
                return (record, error)
            }
        }
        // The device is idle again when this returns.
        _ = await run.end.value()
        run.operation.endProgress()
        return try await outcome.value().get()
    }

    /// Throws if vfiod has the device, whether well bound or not.
    func mustBeFree(_ address: PCIAddress) throws(PassthroughError) {
        guard let record = records[address] else { return }
        throw .wrongState(
            address, state: record.phase.rawValue, needed: DeviceState.available.rawValue,
            message: record.phase.isBound ? "It is bound." : "An earlier operation on it did not end well.")
    }

    /// The record of a device that vfiod has bound and nobody works on.
    func mustBeBound(_ address: PCIAddress) async throws(PassthroughError) -> DeviceRecord {
        try mustExist(address)
        try mustBeIdle(address)
        guard let record = records[address], record.phase == .bound, sysfs.driver(of: address) == Planner.driver else {
            throw .wrongState(
                address, state: await stateName(of: address), needed: DeviceState.bound.rawValue,
                message: "\(address) is not bound to \(Planner.driver) by vfiod. Bind it first.")
        }
        return record
    }

    func mustExist(_ address: PCIAddress) throws(PassthroughError) {
        if sysfs.contains(address) { return }
        guard inventory[address]?.isGone ?? false else { throw .deviceNotFound(address.description) }
        throw .wrongState(
            address, state: DeviceState.gone.rawValue, needed: "in this host",
            message: "It was removed from the host while vfiod had it. There is nothing to give back any more.")
    }

    func stateName(of address: PCIAddress) async -> String {
        let planner = planner
        return await readingLane.run {
            let isOfVFIO = planner.sysfs.driver(of: address).map(HostDrivers.isVFIO) ?? false
            return isOfVFIO && !planner.isPart(address) ? DeviceState.foreign : .available
        }.rawValue
    }
}
