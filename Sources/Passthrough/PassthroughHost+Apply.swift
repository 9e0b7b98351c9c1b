internal import LinuxSystem
internal import Logging
internal import PCI

// What the configuration asks of devices.
extension PassthroughHost {
    /// Makes the devices what `names` asks of them: what an earlier call brought about and is not asked for any more is
    /// given back first; then virtual functions are made, among which may be some that are to be bound; then devices are
    /// bound, in the order of `names`. A device that is both is bound first, because vfio-pci is to make them.
    public func apply(
        _ names: NamedDevices, dryRun: Bool, progress: @escaping ProgressReport
    ) async -> [AppliedProvision] {
        await takeInventory()
        if !dryRun {
            self.names = names
            await adoptClaimed()
        }
        var wanted: [(device: NamedDevices.Device, found: Result<PCIAddress, PassthroughError>)] = []
        for device in names.devices { wanted.append((device, await locate(device))) }
        var applied = await giveBackUnwanted(wanted, dryRun, progress)
        for (device, found) in wanted {
            guard let count = device.provision.virtualFunctions else { continue }
            if device.provision.isBound {
                let bound = await bind(device, found, dryRun, progress)
                applied.append(bound)
                // Its host driver is not to make them.
                if case .failed = bound.outcome { continue }
            }
            applied.append(
                await provide(device, found, .virtualFunctions, progress) { address, report throws(PassthroughError) in
                    try await self.provide(count, of: address, device, dryRun, report)
                })
        }
        for (device, found) in wanted where device.provision.isBound && device.provision.virtualFunctions == nil {
            // It may be one of the virtual functions that have only just been made.
            let found = if case .failure = found { await locate(device) } else { found }
            applied.append(await bind(device, found, dryRun, progress))
        }
        return applied
    }

    private func bind(
        _ device: NamedDevices.Device, _ found: Result<PCIAddress, PassthroughError>, _ dryRun: Bool,
        _ progress: @escaping ProgressReport
    ) async -> AppliedProvision {
        await provide(device, found, .bind, progress) { address, report throws(PassthroughError) in
            try await self.provideBound(address, device, dryRun, report)
        }
    }

    /// The one device that is meant.
    func locate(_ device: NamedDevices.Device) async -> Result<PCIAddress, PassthroughError> {
        do throws(PassthroughError) {
            return .success(try await find(device.identity, named: device.name))
        } catch {
            return .failure(error)
        }
    }

    private typealias Provide =
        @Sendable (PCIAddress, @escaping ProgressReport) async throws(PassthroughError) -> AppliedProvision.Outcome

    private func provide(
        _ device: NamedDevices.Device, _ found: Result<PCIAddress, PassthroughError>, _ action: AppliedProvision.Action,
        _ progress: @escaping ProgressReport, _ body: Provide
    ) async -> AppliedProvision {
        switch found {
        case .failure(let error):
            return AppliedProvision(name: device.name, address: nil, action: action, outcome: .failed(error))
        case .success(let address):
            return await outcome(of: action, device.name, address, progress, body)
        }
    }

    private func outcome(
        of action: AppliedProvision.Action, _ name: String, _ address: PCIAddress,
        _ progress: @escaping ProgressReport, _ body: Provide
    ) async -> AppliedProvision {
        do throws(PassthroughError) {
            let outcome = try await body(address) { line in progress("\(name): \(line)") }
            return AppliedProvision(name: name, address: address, action: action, outcome: outcome)
        } catch {
            return AppliedProvision(name: name, address: address, action: action, outcome: .failed(error))
        }
    }

    private func provideBound(
        _ address: PCIAddress, _ device: NamedDevices.Device, _ dryRun: Bool, _ progress: @escaping ProgressReport
    ) async throws(PassthroughError) -> AppliedProvision.Outcome {
        let consent = device.provision.consent
        let plan = try await bind(address, consent: consent, dryRun: true, progress: progress)
        let refused = consent.unmet(plan.blockers, on: address)
        if !refused.isEmpty { throw .refused(address, operation: "bind", refused) }
        if plan.steps.isEmpty { return .unchanged }
        if dryRun { return .planned(plan) }
        _ = try await bind(
            address, consent: consent, dryRun: false, mustBeFree: false, appliedAs: device.name, progress: progress)
        return .done
    }

    private func provide(
        _ count: Int, of address: PCIAddress, _ device: NamedDevices.Device, _ dryRun: Bool,
        _ progress: @escaping ProgressReport
    ) async throws(PassthroughError) -> AppliedProvision.Outcome {
        let consent = device.provision.consent
        // What an earlier configuration asked for is given back before there is anything else.
        if let record = records[address], record.phase == .created, record.appliedAs != nil,
            record.virtualFunctions != count
        {
            let plan = try await restore(address, dryRun: true, progress: progress)
            if !plan.blockers.isEmpty { throw .refused(address, operation: "restore", plan.blockers) }
            if dryRun { return .planned(plan) }
            _ = try await restore(address, dryRun: false, progress: progress)
        }
        let plan =
            device.provision.isBound
            ? try await divisionPlan(address, into: count)
            : try await setVirtualFunctions(
                address, to: count, consent: consent, dryRun: true, appliedAs: nil, progress: progress)
        let refused = consent.unmet(plan.blockers, on: address)
        if !refused.isEmpty { throw .refused(address, operation: PassthroughHost.creating, refused) }
        if plan.steps.isEmpty { return .unchanged }
        if dryRun { return .planned(plan) }
        _ = try await setVirtualFunctions(
            address, to: count, consent: consent, dryRun: false, appliedAs: device.name, progress: progress)
        return .done
    }

    /// Gives back what an earlier call brought about and nothing asks for any more: bound devices first, because among
    /// them may be virtual functions that go with the others.
    private func giveBackUnwanted(
        _ wanted: [(device: NamedDevices.Device, found: Result<PCIAddress, PassthroughError>)], _ dryRun: Bool,
        _ progress: @escaping ProgressReport
    ) async -> [AppliedProvision] {
        var bound: Set<PCIAddress> = []
        var created: Set<PCIAddress> = []
        for case (let device, .success(let address)) in wanted {
            if device.provision.isBound { bound.insert(address) }
            if device.provision.virtualFunctions != nil, !device.provision.isBound { created.insert(address) }
        }
        // A device that cannot be told now is not one that nothing asks for.
        let unsure = Set(wanted.compactMap { if case .failure = $0.found { $0.device.name } else { nil } })
        let unwanted = records.filter { address, record in
            guard let name = record.appliedAs, !unsure.contains(name) else { return false }
            return !(record.phase == .created ? created : bound).contains(address)
        }
        let inOrder = unwanted.sorted { first, second in
            let isLater = (first.value.hasMade, second.value.hasMade)
            return isLater.0 == isLater.1 ? first.key < second.key : isLater.1
        }
        var applied: [AppliedProvision] = []
        for (address, record) in inOrder {
            applied.append(
                await outcome(of: .restore, record.appliedAs ?? "", address, progress) {
                    address, report throws(PassthroughError) in
                    let plan = try await self.restore(address, dryRun: dryRun, progress: report)
                    return dryRun ? .planned(plan) : .done
                })
        }
        return applied
    }
}

extension DeviceRecord {
    /// Whether virtual functions go with it.
    fileprivate var hasMade: Bool { phase == .created || parts != nil }
}
