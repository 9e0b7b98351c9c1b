internal import LinuxSystem
internal import PCI
internal import SystemPackage
internal import VFIO

/// What a lease may have.
public struct LeaseLimits: Hashable, Sendable {
    /// Ranges of addresses. The kernel's own limit is 65,535.
    public var mappings = 4096
    /// Mebibytes of memory, which is pinned.
    public var mebibytes = 64 << 10
    /// Whether a VMM that speaks vfio-user may map registers, for which it is given the device's descriptor; where the
    /// configuration says nothing else of the device.
    public var mapsBARs = true

    /// The defaults.
    public init() {}
}

/// The address space that the devices of a lease share: its VFIO container, open as long as any session is in it, and
/// what is mapped there.
///
/// Two devices of one IOMMU group see the same memory. What two sessions map alike is mapped once, and unmapped when the
/// last of them unmaps it or ends.
final class LeaseMemory: Sendable {
    private struct Mapping: Hashable {
        let range: DMARange
        let file: FileIdentity
        let offset: UInt64
        let isWritable: Bool
    }

    private struct Open {
        let container: VFIOContainer
        let group: VFIOGroup
        let lane: BlockingLane
        let reserved: [IOMMUReservedRegion]
        var users: Set<PCIAddress> = []
        var mappings: [Mapping: Set<PCIAddress>] = [:]
    }

    // So much is pinned with one call at most, which cannot be called off.
    private static let portion: UInt64 = 1 << 30

    let iommuGroup: Int
    private let limits: LeaseLimits
    private let kernel: any Kernel
    private let sysfs: Sysfs
    /// Held only to look and to enter, so that nobody who asks waits for the kernel.
    private let open = Lock<Open?>(nil)
    /// Held while the container is opened or closed, by lanes only.
    private let transition = Lock(())

    init(iommuGroup: Int, limits: LeaseLimits, kernel: any Kernel, sysfs: Sysfs) {
        (self.iommuGroup, self.limits, self.kernel, self.sysfs) = (iommuGroup, limits, kernel, sysfs)
    }

    var users: Set<PCIAddress> { open.withLock { $0?.users ?? [] } }

    var mapped: (count: Int, bytes: UInt64) {
        open.withLock { open in
            let ranges = (open?.mappings.keys).map { $0.map(\.range) } ?? []
            return (ranges.count, ranges.reduce(0) { $0 + $1.size })
        }
    }

    /// A session of a device comes, which then opens the device. Blocks.
    func join(_ user: PCIAddress) throws(KernelError) -> VFIOGroup {
        try transition.withLock { (_) throws(KernelError) in
            if let group = enter(user) { return group }
            let container = try VFIOContainer(kernel)
            let group = try VFIOGroup(iommuGroup, in: container)
            try container.setIOMMU()
            let opened = Open(
                container: container, group: group, lane: try BlockingLane(name: "dma-\(iommuGroup)"),
                reserved: sysfs.reservedRegions(ofIOMMUGroup: iommuGroup), users: [user])
            open.withLock { $0 = opened }
            return group
        }
    }

    /// A session is over. The last one closes the container, with all that is still mapped. Blocks.
    func leave(_ user: PCIAddress) {
        transition.withLock { _ in
            let last = open.withLock { open -> Open? in
                open?.users.remove(user)
                guard let left = open, left.users.isEmpty else { return nil }
                open = nil
                return left
            }
            // Closes here, outside of the other lock.
            withExtendedLifetime(last) {}
        }
    }

    private func enter(_ user: PCIAddress) -> VFIOGroup? {
        open.withLock { open in
            open?.users.insert(user)
            return open?.group
        }
    }

    /// The lane of calls for the address space; nil while no session is in it.
    var lane: BlockingLane? { open.withLock { $0?.lane } }

    /// Maps memory for a session, unless `mayGoOn`, asked again and again, throws. To be called on ``lane``.
    func map(
        _ range: DMARange, _ memory: MemoryFile, at offset: UInt64, writable: Bool, for user: PCIAddress,
        mayGoOn: () throws(LeaseError) -> Void
    ) throws(LeaseError) {
        try mayGoOn()
        guard offset % DMARange.pageSize == 0 else { throw .badRange(.unaligned) }
        let mapping = Mapping(range: range, file: memory.identity, offset: offset, isWritable: writable)
        let container = try open.withLock { (open) throws(LeaseError) -> VFIOContainer? in
            guard var space = open, space.users.contains(user) else { throw .badRange(.notMapped) }
            if let users = space.mappings[mapping], !users.contains(user) {
                space.mappings[mapping] = users.union([user])
                open = space
                return nil
            }
            if space.mappings.keys.contains(where: { $0.range.overlaps(range) }) { throw .badRange(.overlaps) }
            if let fault = range.conflict(in: space.reserved) { throw .badRange(fault) }
            try check(range, beside: space.mappings.keys.map(\.range))
            return space.container
        }
        guard let container else { return }
        var done: UInt64 = 0
        do throws(LeaseError) {
            try checkSize(of: memory, offset, range.size)
            while done < range.size {
                try mayGoOn()
                let begin = range.first + done
                let size = min(LeaseMemory.portion - begin % LeaseMemory.portion, range.size - done)
                try pin(memory, at: offset + done, to: (begin, size), writable, in: container)
                done += size
            }
        } catch {
            do throws(KernelError) {
                if done > 0 { try container.unmapDMA(iova: range.first, size: done) }
            } catch {
                // The session's end tries again.
                open.withLock { $0?.mappings[mapping] = [user] }
            }
            throw error
        }
        open.withLock { $0?.mappings[mapping] = [user] }
    }

    private func checkSize(of memory: MemoryFile, _ offset: UInt64, _ count: UInt64) throws(LeaseError) {
        let size: UInt64
        do throws(KernelError) { size = try memory.size() } catch { throw .badMemory("\(error)") }
        let (end, overflows) = offset.addingReportingOverflow(count)
        guard !overflows, end <= size else { throw .badMemory("the memory has \(size) bytes: EINVAL") }
    }

    private func pin(
        _ memory: MemoryFile, at offset: UInt64, to place: (iova: UInt64, size: UInt64), _ writable: Bool,
        in container: VFIOContainer
    ) throws(LeaseError) {
        do throws(KernelError) {
            guard let length = Int(exactly: place.size) else { throw KernelError("mmap", .invalidArgument) }
            // The kernel pins the pages themselves; our mapping only names them and goes at once.
            let view = try memory.map(at: offset, length: length, writable: writable)
            try container.mapDMA(iova: place.iova, memory: view.address, size: place.size, writable: writable)
        } catch {
            throw error.call == "mmap" ? .badMemory("\(error)") : .kernel(step: "map memory", error)
        }
    }

    /// Unmaps one mapping of a session, whole. To be called on ``lane``.
    func unmap(_ range: DMARange, of user: PCIAddress) throws(LeaseError) {
        let found = open.withLock { open in
            open?.mappings.first { $0.key.range == range && $0.value.contains(user) }?.key
        }
        guard let found else { throw .badRange(.notMapped) }
        do throws(KernelError) {
            try unmap(found, of: user)
        } catch {
            throw .kernel(step: "unmap memory", error)
        }
    }

    /// Unmaps all that a session has mapped, and goes on after a failure. Returns how many ranges that were; throws the
    /// first failure. To be called on ``lane``.
    func unmapAll(of user: PCIAddress) throws(KernelError) -> Int {
        let all = open.withLock { ($0?.mappings ?? [:]).filter { $0.value.contains(user) }.map(\.key) }
        var failure: KernelError?
        for mapping in all {
            do throws(KernelError) { try unmap(mapping, of: user) } catch { failure = failure ?? error }
        }
        if let failure { throw failure }
        return all.count
    }

    private func unmap(_ mapping: Mapping, of user: PCIAddress) throws(KernelError) {
        let container = open.withLock { open -> VFIOContainer? in
            guard let others = open?.mappings[mapping]?.subtracting([user]) else { return nil }
            if others.isEmpty { return open?.container }
            open?.mappings[mapping] = others
            return nil
        }
        guard let container else { return }
        try container.unmapDMA(iova: mapping.range.first, size: mapping.range.size)
        open.withLock { _ = $0?.mappings.removeValue(forKey: mapping) }
    }

    private func check(_ range: DMARange, beside ranges: [DMARange]) throws(LeaseError) {
        guard ranges.count < limits.mappings else { throw .limitReached(.mappings(limits.mappings)) }
        let bytes = UInt64(clamping: limits.mebibytes) << 20
        let used = ranges.reduce(UInt64(0)) { $0 + $1.size }
        guard used <= bytes, range.size <= bytes - used else { throw .limitReached(.bytes(bytes)) }
    }
}
