internal import LinuxSystem
internal import PCI

/// The members of an IOMMU group that an operation on one of them works on too: their records, before and after.
final class SiblingRecords: Sendable {
    /// Those that there were when it began.
    let earlier: [(address: PCIAddress, record: DeviceRecord)]
    /// All of them, ascending.
    let addresses: [PCIAddress]
    private let records: Lock<[PCIAddress: DeviceRecord]>
    private let found = Lock<[DeviceReading]>([])

    init(_ addresses: some Sequence<PCIAddress>, _ records: [PCIAddress: DeviceRecord]) {
        let sorted = addresses.sorted()
        self.addresses = sorted
        earlier = sorted.compactMap { address in records[address].map { (address, $0) } }
        self.records = Lock(records.filter { sorted.contains($0.key) })
    }

    subscript(address: PCIAddress) -> DeviceRecord? {
        get { records.withLock { $0[address] } }
        set { records.withLock { $0[address] = newValue } }
    }

    /// Looks at what the operation made of them.
    func read(by reader: InventoryReader) {
        let readings = addresses.map { reader.read($0) }
        found.withLock { $0 = readings }
    }

    var readings: [DeviceReading] { found.withLock { $0 } }

    /// Whether they are as they were when it began.
    func isCurrent(_ now: [PCIAddress: DeviceRecord]) -> Bool {
        addresses.allSatisfy { address in now[address] == earlier.first { $0.address == address }?.record }
    }
}

/// Takes the siblings of a device to vfio-pci in one transaction with it, and back.
///
/// A sibling's record says on whose behalf it is bound, and is complete before that device's says that it is bound: that
/// one write decides for all of them. Recovery puts back a sibling whose device did not come so far.
final class SiblingTransition: Sendable {
    private let records: SiblingRecords
    private let device: DriverTransition
    private let inUse: Set<PCIAddress>
    private let taken = Lock<[PCIAddress]>([])

    /// Of the device that `device` takes. What becomes of the records is entered in `records`. `inUse`: those of which the
    /// plan said that they are, so that all the host uses them for was consented to.
    init(_ records: SiblingRecords, of device: DriverTransition, inUse: Set<PCIAddress> = []) {
        (self.records, self.device, self.inUse) = (records, device, inUse)
    }

    /// Binds those that are in use. Call ``putBack()`` if that fails, and whenever the device is not bound after all.
    func bind() throws(PassthroughError) {
        for sibling in records.addresses where inUse.contains(sibling) {
            device.operation.report("binding \(sibling) of the same IOMMU group")
            let result = transition(sibling).bind(earlier: records[sibling])
            records[sibling] = result.record
            if let error = result.error { throw error }
            taken.withLock { $0.append(sibling) }
        }
    }

    /// Puts back those that were bound, the last one first. Returns what kept the first that could not be.
    func putBack() -> PassthroughError? {
        let addresses = taken.withLock { taken in
            defer { taken = [] }
            return taken
        }
        var failure: PassthroughError?
        for sibling in addresses.reversed() {
            guard var record = records[sibling] else { continue }
            record.phase = .binding
            if let error = putBack(sibling, record) { failure = failure ?? error }
        }
        return failure
    }

    /// Puts back all, bound by this or by an earlier transaction. Returns what kept the first that could not be.
    func putBackAll() -> PassthroughError? {
        var failure: PassthroughError?
        for sibling in records.addresses {
            guard let record = records[sibling] else { continue }
            // One that fails keeps no other from going back.
            do throws(PassthroughError) {
                let intent = try transition(sibling).beginRestore(of: record)
                if let error = putBack(sibling, intent) { throw error }
            } catch {
                failure = failure ?? error
            }
        }
        return failure
    }

    private func putBack(_ sibling: PCIAddress, _ record: DeviceRecord) -> PassthroughError? {
        device.operation.report("giving back \(sibling) of the same IOMMU group")
        let result = transition(sibling).putBack(record)
        records[sibling] = result.record
        return result.error
    }

    private func transition(_ sibling: PCIAddress) -> DriverTransition {
        DriverTransition(
            address: sibling, root: device.root, writer: device.writer, log: device.log, operation: device.operation,
            onBehalfOf: device.address)
    }
}
