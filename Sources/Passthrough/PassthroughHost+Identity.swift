internal import LinuxSystem
internal import PCI

// Which device is meant.
extension PassthroughHost {
    /// The device or the pool that a selector names. An address is taken as it is, whether a device is there or not.
    public func target(of selector: DeviceSelector) async throws(PassthroughError) -> DeviceTarget {
        switch selector {
        case .address(let address): return .device(address)
        case .identity(let identity): return .device(try await find(identity, named: selector.description))
        case .name(let name):
            if let pool = names.pool(name) {
                return .pool(name, members: pool.members.map(\.description))
            }
            guard let device = names.device(name) else { throw .deviceNotFound(name) }
            return .device(try await find(device.identity, named: name))
        }
    }

    /// What the configuration calls a device.
    func configuredName(of device: Inventory.Device) -> String? {
        names.devices.first { $0.identity.agrees(with: device, in: inventory) }?.name
    }

    func find(_ identity: DeviceIdentity, named name: String) async throws(PassthroughError) -> PCIAddress {
        let search = await search(identity)
        if let address = search.agreeing.first {
            guard search.agreeing.count == 1 else { throw .ambiguous(name, search.agreeing) }
            return address
        }
        if !search.unknown.isEmpty { throw .identityUnknown(name, search.unknown) }
        if let found = search.nearest {
            throw .identityMismatch(
                name, found.address, part: found.part, expected: found.expected, found: found.found)
        }
        throw .deviceNotFound(name)
    }

    /// Looks for an identity; what has not told all yet is given as much time as other readings of a device are.
    private func search(_ identity: DeviceIdentity) async -> IdentitySearch {
        await takeInventory()
        let first = IdentitySearch(identity, in: inventory)
        guard first.agreeing.isEmpty, !first.unknown.isEmpty else { return first }
        await withTaskGroup(of: Void.self) { group in
            for (index, address) in first.unknown.enumerated() {
                if index >= 16 { await group.next() }
                group.addTask { _ = await self.live([.config], of: address) }
            }
        }
        return IdentitySearch(identity, in: inventory)
    }
}

// Pools.
extension PassthroughHost {
    /// Binds the first device of a pool that is free: available, and without blockers but for those that `consent` names.
    /// With `dryRun`, only says which that is and what would be done.
    public func bind(
        firstFreeOf name: String, consent: Set<Consent>, dryRun: Bool, progress: @escaping ProgressReport
    ) async throws(PassthroughError) -> PoolChoice {
        guard let pool = names.pool(name) else { throw .deviceNotFound(name) }
        var passedOver: [PassedOver] = []
        for member in await members(of: pool) {
            switch member {
            case .failure(let reason): passedOver.append(reason)
            case .success(let address):
                do throws(PassthroughError) {
                    return try await bindIfFree(address, consent, dryRun: dryRun, progress)
                } catch {
                    // What was found out without a change to the device is no reason to stop.
                    switch error {
                    case .busy, .refused, .wrongState, .deviceNotFound: break
                    default: throw error
                    }
                    passedOver.append(PassedOver(address.description, reason: error.clause))
                }
            }
        }
        throw .poolExhausted(name, passedOver)
    }

    private func bindIfFree(
        _ address: PCIAddress, _ consent: Set<Consent>, dryRun: Bool, _ progress: @escaping ProgressReport
    ) async throws(PassthroughError) -> PoolChoice {
        guard let device = inventory[address] else { throw .deviceNotFound(address.description) }
        try mustBeIdle(address)
        try mustBeFree(address)
        let state = summary(device).state
        guard state == .available else {
            throw .wrongState(
                address, state: state.rawValue, needed: DeviceState.available.rawValue,
                message: "It is \(state.rawValue).")
        }
        let planner = planner
        let plan = try await readingLane.run { () throws(PassthroughError) in
            try planner.bindPlan(address, nil)
        }
        let refused = consent.unmet(plan.blockers, on: address)
        if !refused.isEmpty { throw .refused(address, operation: "bind", refused) }
        if dryRun { return PoolChoice(device: address, plan: plan) }
        progress("\(address) is free")
        let done = try await bind(address, consent: consent, dryRun: false, mustBeFree: true, progress: progress)
        return PoolChoice(device: address, plan: done)
    }

    /// The members of a pool, each once, in order.
    private func members(of pool: NamedDevices.Pool) async -> [Result<PCIAddress, PassedOver>] {
        await takeInventory()
        var found: [Result<PCIAddress, PassedOver>] = []
        var seen: Set<PCIAddress> = []
        for member in pool.members {
            do throws(PassthroughError) {
                for address in try await addresses(of: member) where seen.insert(address).inserted {
                    found.append(.success(address))
                }
            } catch {
                found.append(.failure(PassedOver(member.description, reason: error.clause)))
            }
        }
        return found
    }

    private func addresses(of member: DeviceSelector) async throws(PassthroughError) -> [PCIAddress] {
        if case .identity(let identity) = member {
            let all = await search(identity).agreeing
            if !all.isEmpty { return all }
        }
        guard case .device(let address) = try await target(of: member) else { return [] }
        return [address]
    }
}
