internal import LinuxSystem
internal import PCI

// Members of one IOMMU group: which are worked on together.
//
// A device is bound because somebody asked for it, or on behalf of one of those. The latter stay bound as long as any
// member of their IOMMU group is bound that was asked for.
extension PassthroughHost {
    /// The siblings that `consent` allows to bind along with a device.
    func siblings(
        toBindWith address: PCIAddress, _ consent: Set<Consent>
    ) throws(PassthroughError) -> SiblingRecords? {
        guard let group = sysfs.iommuGroup(of: address) else { return nil }
        let members = consent.siblings.intersection(sysfs.members(ofIOMMUGroup: group)).subtracting([address])
        for member in members.sorted() {
            let leased = leasedBlockers(of: member)
            if !leased.isEmpty { throw .refused(address, operation: "bind", leased) }
            guard let record = records[member] else { continue }
            if let blocker = record.quarantineBlocker(member) { throw .refused(address, operation: "bind", [blocker]) }
            if record.phase == .bound { continue }
            throw .wrongState(
                member, state: record.phase.rawValue, needed: DeviceState.available.rawValue,
                message: "An earlier operation did not end well, at \(record.step). Restore puts the device back.")
        }
        return members.isEmpty ? nil : SiblingRecords(members, records)
    }

    /// The siblings that go back along with a device: those that no other member needs.
    func siblings(
        toGiveBackWith address: PCIAddress, _ record: DeviceRecord
    ) throws(PassthroughError) -> SiblingRecords {
        let group = sysfs.iommuGroup(of: address)
        if let other = askedFor(inIOMMUGroup: group, beside: address) {
            guard record.onBehalfOf == nil else {
                throw .wrongState(
                    address, state: "bound on behalf of \(other)", needed: "bound by itself",
                    message: "\(other) cannot be used without it. Restore of \(other) gives both back.")
            }
            return SiblingRecords([], [:])
        }
        return SiblingRecords(siblings(inIOMMUGroup: group).filter { $0 != address }, records)
    }

    /// The record of a bound device from now on: it was asked for by itself.
    nonisolated func asked(
        for address: PCIAddress, _ record: DeviceRecord?, _ operation: RunningOperation
    ) throws(PassthroughError) -> DeviceRecord? {
        guard var record, record.onBehalfOf != nil else { return record }
        record.onBehalfOf = nil
        try transition(address, operation).save(record, as: .bound)
        return record
    }

    /// A member that was asked for and stays bound.
    private func askedFor(inIOMMUGroup group: Int?, beside address: PCIAddress?) -> PCIAddress? {
        guard let group else { return nil }
        return records.keys.sorted().first { other in
            other != address && records[other]?.onBehalfOf == nil && records[other]?.phase.isBound ?? false
                && running[other]?.operation.name != "restore" && sysfs.iommuGroup(of: other) == group
        }
    }

    private func siblings(inIOMMUGroup group: Int?) -> [PCIAddress] {
        guard let group else { return [] }
        return records.filter { $0.value.onBehalfOf != nil && sysfs.iommuGroup(of: $0.key) == group }.keys.sorted()
    }

    /// Enters what an operation made of the siblings.
    func endSiblings(of run: Running) {
        for reading in run.siblings?.readings ?? [] { enter(reading, driverIsBound: true) }
        for sibling in run.siblings?.addresses ?? [] {
            records[sibling] = run.siblings?[sibling]
            running[sibling] = nil
            tell(.changed, sibling)
            closeIfGone(sibling)
        }
    }

    /// Gives back the siblings of a device that is gone, unless another member needs them.
    func giveBackSiblingsLeft(by address: PCIAddress) {
        for (sibling, record) in records where record.onBehalfOf == address.description && isIdle(sibling) {
            guard askedFor(inIOMMUGroup: sysfs.iommuGroup(of: sibling), beside: nil) == nil else { continue }
            finish("restore", sibling, record)
        }
    }
}

/// The devices that were asked for, as an earlier vfiod left them.
struct AskedFor {
    fileprivate var iommuGroups: Set<Int> = []
    fileprivate var unfinished: Set<String> = []

    /// Whether a device stays bound: because it was asked for, or because one is bound that was, and with which it was
    /// bound.
    func keeps(_ record: DeviceRecord, iommuGroup: Int?) -> Bool {
        guard let device = record.onBehalfOf else { return true }
        return !unfinished.contains(device) && iommuGroup.map(iommuGroups.contains) ?? false
    }
}

extension PassthroughHost {
    func askedFor(_ entries: [(address: PCIAddress, entry: IntentLog.Entry)]) -> AskedFor {
        var found = AskedFor()
        for case (let address, .record(let record)) in entries
        where record.onBehalfOf == nil && reasonToClose(address, record) == nil {
            if record.phase == .binding { found.unfinished.insert(address.description) }
            if record.phase.isBound, let group = sysfs.iommuGroup(of: address) { found.iommuGroups.insert(group) }
        }
        return found
    }
}
