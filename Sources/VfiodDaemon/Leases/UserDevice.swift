internal import InterruptSources
internal import LinuxSystem
internal import Passthrough
internal import SystemPackage
internal import VFIOUser

/// The device of a session, as a vfio-user server drives it.
final class UserDevice: VFIOUserDevice {
    // VFIO_PCI_NUM_REGIONS and VFIO_PCI_NUM_IRQS.
    private static let regions = 9
    private static let irqs = 5

    private let session: any DeviceSession
    private let mapsBARs: Bool
    private let interrupts: UserInterrupts
    private let memory = UserMemory()
    // A client of the widest use waits 5 seconds for an answer (QEMU), and for the last only of those that it sends in one go.
    private static let patience = Duration.seconds(3)
    private let waited = Lock(Duration.zero)
    private let described = Lock<VFIOUserDeviceDescription?>(nil)
    private let report: @Sendable (String) -> Void

    /// `mapsBARs`: whether the client may map registers, and so have the device's descriptor. `report` is told what a person
    /// should know of what the client did.
    init(_ session: any DeviceSession, mapsBARs: Bool, report: @escaping @Sendable (String) -> Void) {
        (self.session, self.mapsBARs, self.report) = (session, mapsBARs, report)
        interrupts = UserInterrupts(session)
    }

    func describe() async throws(Errno) -> VFIOUserDeviceDescription {
        if let known = described.withLock({ $0 }) { return known }
        let device = try await asked { (session) async throws(LeaseError) in try await session.describe() }
        var regions = [VFIOUserDeviceDescription.Region](repeating: .init(), count: UserDevice.regions)
        for region in device.regions where regions.indices.contains(region.index) {
            regions[region.index] = VFIOUserDeviceDescription.Region(
                size: region.size, isReadable: region.isReadable, isWritable: region.isWritable,
                mapping: mapsBARs ? UserDevice.mapping(region) : nil)
        }
        var irqs = [VFIOUserDeviceDescription.IRQ](repeating: .init(), count: UserDevice.irqs)
        irqs[0] = .init(count: UInt32(clamping: device.interrupts.legacy), isMaskable: true, isAutomasked: true)
        irqs[1] = .init(count: UInt32(clamping: device.interrupts.msi))
        // Where the kernel cannot add vectors, the group does so by wiring the table anew.
        irqs[2] = .init(count: UInt32(clamping: device.interrupts.msix), isResizable: true)
        let made = VFIOUserDeviceDescription(canReset: device.canReset, regions: regions, irqs: irqs)
        described.withLock { $0 = made }
        return made
    }

    func descriptor() async throws(Errno) -> SharedDescriptor {
        guard mapsBARs else { throw .notPermitted }
        return try await asked { (session) async throws(LeaseError) in try await session.openDevice() }
    }

    private static func mapping(_ region: SessionDevice.Region) -> VFIOUserDeviceDescription.Mapping? {
        if region.mappableAreas.isEmpty { return nil }
        return VFIOUserDeviceDescription.Mapping(
            fileOffset: region.offset,
            areas: region.mappableAreas.map { VFIOUserDeviceDescription.Mapping.Area(offset: $0.offset, size: $0.size) }
        )
    }

    func read(_ access: VFIOUserAccess, count: Int) async throws(Errno) -> [UInt8] {
        try await asked { (session) async throws(LeaseError) in
            try await session.read(region: Int(access.region), at: access.offset, count: count)
        }
    }

    func write(_ bytes: [UInt8], _ access: VFIOUserAccess) async throws(Errno) {
        try await asked { (session) async throws(LeaseError) in
            try await session.write(region: Int(access.region), at: access.offset, bytes)
        }
    }

    func map(
        iova: UInt64, size: UInt64, _ received: ReceivedDescriptors?, at offset: UInt64, isWritable: Bool
    ) async throws(Errno) {
        guard let range = try? DMARange(first: iova, size: size) else { throw .invalidArgument }
        guard let received else {
            // A ROM, or another device's registers: the guest may let the device use it, and it will find nothing.
            try memory.add(range, isBacked: false)
            report("memory without a descriptor at \(range) is out of the device's reach")
            return
        }
        guard received.rawValues.count == 1, let file = try? received.memory(at: 0) else {
            report(
                "what came to be mapped at \(range) is no memory: guest memory has to be a memfd, tmpfs or hugetlbfs")
            throw .invalidArgument
        }
        try memory.add(range, isBacked: true)
        let (begun, left) = (ContinuousClock.now, max(.zero, UserDevice.patience - waited.withLock { $0 }))
        defer { waited.withLock { $0 += ContinuousClock.now - begun } }
        do throws(Errno) {
            // Not through `asked`: what follows a mapping at once is waited for together with it.
            try await answering { (session) async throws(LeaseError) in
                try await session.map(range, file, at: offset, writable: isWritable, patience: left)
            }
        } catch {
            memory.remove(range)
            throw error
        }
    }

    func unmap(_ range: (iova: UInt64, size: UInt64)?) async throws(Errno) {
        var failure: Errno?
        for (mapped, isBacked) in try memory.within(range) {
            do throws(Errno) {
                if isBacked {
                    try await asked { (session) async throws(LeaseError) in try await session.unmap(mapped) }
                }
                memory.remove(mapped)
            } catch {
                failure = failure ?? error
            }
        }
        if let failure { throw failure }
    }

    func setIRQs(_ request: VFIOUserSetIRQs, _ eventfds: ReceivedDescriptors?) async throws(Errno) {
        do throws(LeaseError) {
            try await interrupts.set(request, eventfds)
        } catch {
            report("interrupts: \(error)")
            throw error.errno
        }
    }

    func reset() async throws(Errno) {
        // A client may ask for a reset just because there is none (Cloud Hypervisor), and every one does at each boot.
        if try await !describe().canReset { return report("its client asks for a reset, and the device has none") }
        try await asked { (session) async throws(LeaseError) in try await session.reset() }
    }

    private func asked<Value>(
        _ body: (any DeviceSession) async throws(LeaseError) -> Value
    ) async throws(Errno) -> Value {
        waited.withLock { $0 = .zero }
        return try await answering(body)
    }

    private func answering<Value>(
        _ body: (any DeviceSession) async throws(LeaseError) -> Value
    ) async throws(Errno) -> Value {
        do throws(LeaseError) {
            return try await body(session)
        } catch {
            report("\(error)")
            throw error.errno
        }
    }
}

/// What a client has mapped, by its ranges.
final class UserMemory: Sendable {
    // Those without a descriptor cost the kernel nothing, and us a little.
    private static let limit = 65535
    private let ranges = Lock<[DMARange: Bool]>([:])

    /// Enters a range. Throws EEXIST if it touches another.
    func add(_ range: DMARange, isBacked: Bool) throws(Errno) {
        try ranges.withLock { (ranges) throws(Errno) in
            if ranges.count >= UserMemory.limit { throw .noSpace }
            if ranges.keys.contains(where: { $0.overlaps(range) }) { throw .fileExists }
            ranges[range] = isBacked
        }
    }

    func remove(_ range: DMARange) { ranges.withLock { _ = $0.removeValue(forKey: range) } }

    /// The mappings that make up a range, in order; all, for nil. Throws EINVAL for one that cuts a mapping in two, ENOENT
    /// for one in which there is none.
    func within(_ range: (iova: UInt64, size: UInt64)?) throws(Errno) -> [(range: DMARange, isBacked: Bool)] {
        let all = ranges.withLock { $0 }.sorted { $0.key.first < $1.key.first }.map {
            (range: $0.key, isBacked: $0.value)
        }
        guard let range else { return all }
        let (end, overflows) = range.iova.addingReportingOverflow(range.size)
        // The last page's end is 2^64.
        guard !overflows || end == 0, range.size > 0 else { throw .invalidArgument }
        let last = range.iova &+ (range.size - 1)
        let touched = all.filter { $0.range.first <= last && $0.range.last >= range.iova }
        guard touched.allSatisfy({ $0.range.first >= range.iova && $0.range.last <= last }) else {
            throw .invalidArgument
        }
        if touched.isEmpty { throw .noSuchFileOrDirectory }
        return touched
    }
}

extension LeaseError {
    /// What a protocol says of it that has nothing but error numbers.
    var errno: Errno {
        switch self {
        case .notReady: .resourceBusy
        case .ended: .operationNotSupportedByDevice
        case .badRange(.overlaps): .fileExists
        case .badRange, .badMemory: .invalidArgument
        case .limitReached: .noSpace
        case .kernel(_, let error): error.errno
        case .interrupts(let error):
            switch error {
            case .kernel(let cause): cause.errno
            case .hostExhausted: .noSpace
            default: .invalidArgument
            }
        }
    }
}
