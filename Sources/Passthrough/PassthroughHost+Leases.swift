internal import LinuxSystem
internal import Logging
public import PCI

// Leases: the devices of one IOMMU group that are given to one owner, from Attach to Detach. The lease stands in the
// device's record, on disk before there is a socket, and so outlives vfiod.
extension PassthroughHost {
    /// Gives a bound device to an owner; does nothing if it has it so already.
    public func attach(
        _ address: PCIAddress, to owner: LeaseOwner, _ mode: LeaseMode, consent: Set<Consent>, dryRun: Bool
    ) async throws(PassthroughError) -> (lease: Lease?, plan: Plan) {
        let terms = LeaseTerms(owner: owner, mode: mode)
        let plan = try await attachPlan(address, terms)
        if dryRun { return (nil, plan) }
        let refused = consent.unmet(plan.blockers, on: address)
        if !refused.isEmpty { throw .refused(address, operation: "attach", refused) }
        try mustBeIdle(address)
        var record = try recordToLease(address)
        // What could have come while the plan was made.
        let late = consent.unmet(leaseBlockers(address, terms), on: address)
        if !late.isEmpty { throw .refused(address, operation: "attach", late) }
        if record.lease != terms {
            record.lease = terms
            record.onBehalfOf = nil
            attaching[address] = terms
            defer { attaching[address] = nil }
            try await save(record, of: address, operation: "attach")
            do throws(KernelError) {
                try await endpoints?.open(
                    address, at: socketPath(of: address), for: owner, mode, mapsBARs: mapsBARs(address))
            } catch {
                record.lease = nil
                try await save(record, of: address, operation: "detach")
                throw .kernel(
                    address, step: "listen", error, hint: "vfiod has to be able to make sockets in its lease directory."
                )
            }
        }
        return (lease(of: address), plan)
    }

    /// Takes a device back from its owner.
    public func detach(
        _ address: PCIAddress, dryRun: Bool, progress: @escaping ProgressReport
    ) async throws(PassthroughError) -> Plan {
        try mustExist(address)
        try mustBeIdle(address)
        guard let terms = records[address]?.lease else {
            throw .wrongState(
                address, state: records[address]?.phase.rawValue ?? DeviceState.available.rawValue, needed: "leased",
                message: "\(address) is given to nobody, so there is nothing to take back.")
        }
        let plan = Plan(
            steps: planner.detachSteps(
                address, socketPath: socketPath(of: address), hasSession: leaseStates[address]?.session != nil),
            blockers: [])
        if dryRun { return plan }
        progress("ending the session of \(address), if there is one")
        await endSession(address, .detached)
        progress("closing the socket of \(address)")
        await endpoints?.close(address)
        // Another may have begun before that.
        await endSession(address, .detached)
        if let reason = records[address]?.quarantine { progress("\(address) is quarantined: \(reason)") }
        do throws(PassthroughError) {
            // Somebody else may have done so, or the device may be gone.
            guard var record = records[address], record.lease == terms else { return plan }
            record.lease = nil
            record.lastOwner = terms.owner
            try await save(record, of: address, operation: "detach")
        } catch {
            await serve(address, terms)
            throw error
        }
        leaseStates[address] = nil
        return plan
    }

    /// Every lease, in the order of IOMMU groups. Who holds a device without a session is looked up.
    public func leases() async -> [Lease] {
        for (address, state) in leaseStates where state.state == .held { await lookWhetherHeld(address) }
        var found: [Int: Lease] = [:]
        for address in records.keys.sorted() {
            guard let lease = lease(of: address) else { continue }
            found[lease.iommuGroup] = lease
        }
        return found.keys.sorted().compactMap { found[$0] }
    }

    /// Opens the sockets of the leases that there are, and of those to come.
    public func serveLeases(through endpoints: any LeaseEndpoints) async {
        self.endpoints = endpoints
        for address in records.keys.sorted() {
            guard let record = records[address], let terms = record.lease, record.phase == .bound else { continue }
            // A session of an earlier vfiod may have left the device in somebody's hands.
            leaseStates[address] = LeaseState(phase: .held([]))
            await lookWhetherHeld(address)
            warnIfHeld(address)
            await serve(address, terms)
        }
    }

    /// What an attach would do. `terms` are nil where nobody in particular asks.
    func attachPlan(_ address: PCIAddress, _ terms: LeaseTerms?) async throws(PassthroughError) -> Plan {
        try mustExist(address)
        let record = try recordToLease(address)
        if let terms, record.lease == terms { return Plan(steps: [], blockers: []) }
        var blockers = leaseBlockers(address, terms)
        // A device that is given away is held by whom it is given to.
        if record.lease == nil { blockers += await hold(on: address).blockers }
        return Plan(
            steps: planner.attachSteps(address, terms, socketPath: socketPath(of: address)), blockers: blockers)
    }

    /// Leases that stand against giving a device back, or using it otherwise: those of all members of its IOMMU group.
    func leasedBlockers(around address: PCIAddress) -> [Blocker] {
        iommuGroupLeases(around: address).map { planner.leasedBlocker($0.device, $0.terms, against: address) }
    }

    /// The lease of a device as a blocker; none if it has none.
    func leasedBlockers(of address: PCIAddress) -> [Blocker] {
        records[address]?.lease.map { [planner.leasedBlocker(address, $0, against: address)] } ?? []
    }

    /// The device is gone, and its record with it.
    func forgetLease(_ address: PCIAddress) {
        Task {
            await endpoints?.close(address)
            await endSession(address, .askedBack)
            leaseStates[address] = nil
        }
    }

    private func recordToLease(_ address: PCIAddress) throws(PassthroughError) -> DeviceRecord {
        guard let record = records[address], record.phase == .bound, sysfs.driver(of: address) == Planner.driver else {
            throw .wrongState(
                address, state: records[address]?.phase.rawValue ?? DeviceState.available.rawValue,
                needed: DeviceState.bound.rawValue,
                message: "\(address) is not bound to \(Planner.driver) by vfiod. Bind it first.")
        }
        return record
    }

    /// What stands against a lease beside those who hold the device.
    private func leaseBlockers(_ address: PCIAddress, _ terms: LeaseTerms?) -> [Blocker] {
        var blockers = records[address]?.quarantineBlocker(address).map { [$0] } ?? []
        for (device, other) in iommuGroupLeases(around: address) where other != terms {
            blockers.append(planner.leasedBlocker(device, other, against: address))
        }
        blockers += drift(around: address).map { blocker in
            var blocker = blocker
            blocker.code = .drift
            return blocker
        }
        return blockers
            + planner.noResetBlockers(address, lastOwner: records[address]?.lastOwner, next: terms?.owner)
    }

    /// The leased members of the IOMMU group of a device, itself among them.
    private func iommuGroupLeases(around address: PCIAddress) -> [(device: PCIAddress, terms: LeaseTerms)] {
        guard let group = sysfs.iommuGroup(of: address) else { return [] }
        let given = records.compactMapValues(\.lease).merging(attaching) { recorded, _ in recorded }
        return given.keys.sorted().compactMap { device in
            guard device == address || sysfs.iommuGroup(of: device) == group, let terms = given[device] else {
                return nil
            }
            return (device, terms)
        }
    }

    private func save(
        _ record: DeviceRecord, of address: PCIAddress, operation name: String
    ) async throws(PassthroughError) {
        let earlier = records[address]
        let run = try begin(name, on: address) { operation in
            do throws(PassthroughError) {
                try self.transition(address, operation).save(record, as: .lease)
                return (record, nil)
            } catch {
                return (earlier, error)
            }
        }
        try await wait(for: run, of: address)
    }

    private func serve(_ address: PCIAddress, _ terms: LeaseTerms) async {
        do throws(KernelError) {
            try await endpoints?.open(
                address, at: socketPath(of: address), for: terms.owner, terms.mode, mapsBARs: mapsBARs(address))
        } catch {
            logger.error(
                "sessions of \(address) cannot begin: \(error). Detach and attach it.",
                metadata: ["event": "lease-unserved", "device": "\(address)", "errno": "\(error.errno.name)"])
        }
    }

    /// Whether a VMM may map its registers.
    private func mapsBARs(_ address: PCIAddress) -> Bool {
        let named = inventory[address].flatMap { device in
            names.devices.first { $0.identity.agrees(with: device, in: inventory) && $0.provision.mapsBARs != nil }
        }
        return named?.provision.mapsBARs ?? configuration.leaseLimits.mapsBARs
    }

    private func socketPath(of address: PCIAddress) -> String { "\(configuration.leaseDirectory)/\(address)" }

    /// The lease that a device belongs to.
    private func lease(of address: PCIAddress) -> Lease? {
        guard let terms = records[address]?.lease, let group = sysfs.iommuGroup(of: address) else { return nil }
        let devices = iommuGroupLeases(around: address).filter { records[$0.device]?.lease == terms }.map(\.device)
        let mapped = memories[group]?.mapped ?? (count: 0, bytes: 0)
        return Lease(
            iommuGroup: group, owner: terms.owner, mode: terms.mode,
            mapsBARs: terms.mode == .vfioUser && mapsBARs(address),
            devices: devices.map { device in
                let (state, quarantine) = (leaseStates[device], quarantineOfIdle(device))
                return LeasedDevice(
                    address: device, socketPath: socketPath(of: device),
                    state: quarantine == nil ? state?.state ?? .idle : .quarantined, session: state?.session,
                    holders: state?.holders ?? [], failure: quarantine ?? state?.failure)
            }, mappings: mapped.count, mappedBytes: mapped.bytes)
    }
}
