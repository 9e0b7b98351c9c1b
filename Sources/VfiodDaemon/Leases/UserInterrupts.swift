internal import InterruptSources
internal import LinuxSystem
internal import Passthrough
internal import SystemPackage
internal import VFIOUser

/// The interrupts of a session's device, as a vfio-user client wires them: its eventfds become the notifiers of the
/// device's groups, and so stand in VFIO itself.
///
/// A client says what it would say to VFIO. A vector without an eventfd is masked, and forgets nothing. Its messages take
/// few descriptors, so an MSI block comes in parts: the whole of it, as large as the guest has allowed it to be, is enabled
/// with the first.
final class UserInterrupts: Sendable {
    private let session: any DeviceSession
    /// Whether the client has masked the line by itself.
    private let isLineMasked = Lock(false)

    init(_ session: any DeviceSession) { self.session = session }

    /// Carries out a request, which is sound for the device.
    func set(_ request: VFIOUserSetIRQs, _ received: ReceivedDescriptors?) async throws(LeaseError) {
        guard let type = UserInterrupts.type(request.index) else { throw UserInterrupts.refusal(.invalidArgument) }
        // As VFIO: messages have no mask there, and a mask no eventfd.
        let isUnknown =
            request.action != .trigger && type != .legacy || request.action == .mask && request.data == .eventfds
        if isUnknown { throw UserInterrupts.refusal(.inappropriateIOCTLForDevice) }
        let allowed = type == .msi ? try await session.allowedMSIVectors() ?? 1 : 0
        let eventfds: [EventFD]
        do throws(KernelError) {
            eventfds =
                try (received?.rawValues.indices).map { (indices) throws(KernelError) in
                    try indices.map { (index) throws(KernelError) in try received?.eventFD(at: index) }.compactMap {
                        $0
                    }
                } ?? []
        } catch {
            throw .kernel(step: "set interrupts", error)
        }
        let range = Int(request.start)..<Int(request.start) + Int(request.count)
        try await session.interrupts { [self] (device) throws(InterruptError) in
            switch (request.action, request.data) {
            case (.trigger, _) where range.isEmpty: try UserInterrupts.disable(type, device)
            case (.trigger, .eventfds):
                if type == .legacy {
                    try UserInterrupts.wireLine(eventfds.first, device)
                    isLineMasked.withLock { $0 = false }
                } else {
                    try UserInterrupts.wire(type, range, eventfds, device, allowed: allowed)
                }
            case (.trigger, let data):
                for index in UserInterrupts.chosen(range, data) { try device.live(type).trigger(index) }
            case (.unmask, .eventfds): try device.makeGroup(.legacy).setResampleNotifier(eventfds.first)
            case (.mask, let data):
                if UserInterrupts.chosen(range, data).isEmpty { return }
                try device.live(.legacy).mask(0)
                isLineMasked.withLock { $0 = true }
            case (.unmask, let data):
                if UserInterrupts.chosen(range, data).isEmpty { return }
                try UserInterrupts.unmaskLine(device, wasMasked: isLineMasked.withLock { $0 })
                isLineMasked.withLock { $0 = false }
            }
        }
    }

    private static func type(_ index: UInt32) -> InterruptType? {
        switch index {
        case 0: .legacy
        case 1: .msi
        case 2: .msix
        default: nil
        }
    }

    private static func refusal(_ error: Errno) -> LeaseError {
        .kernel(step: "set interrupts", KernelError("SET_IRQS", error))
    }

    private static func chosen(_ range: Range<Int>, _ data: VFIOUserSetIRQs.Data) -> [Int] {
        guard case .flags(let flags) = data else { return Array(range) }
        return zip(range, flags).compactMap { $1 ? $0 : nil }
    }

    private static func disable(_ type: InterruptType, _ device: DeviceInterrupts) throws(InterruptError) {
        if device.workingType == type { try device.switchTo(nil) }
    }

    private static func wireLine(_ eventfd: EventFD?, _ device: DeviceInterrupts) throws(InterruptError) {
        guard let eventfd else { return try disable(.legacy, device) }
        try device.makeGroup(.legacy).setNotifier(0, eventfd)
        if device.workingType != .legacy { try device.switchTo(.legacy, [InterruptConfiguration(startsMasked: false)]) }
    }

    /// A line that the client masked is unmasked; and one that masked itself when it was raised, as after each end of
    /// interrupt where no resample eventfd says so. That eventfd may be the client's, who could make a writer block.
    private static func unmaskLine(_ device: DeviceInterrupts, wasMasked: Bool) throws(InterruptError) {
        let group = try device.live(.legacy)
        if !wasMasked { try group.mask(0) }
        try group.unmask(0)
    }

    /// Gives a range of vectors these eventfds, or none. `allowed`: how many MSI vectors the guest allows.
    private static func wire(
        _ type: InterruptType, _ range: Range<Int>, _ eventfds: [EventFD], _ device: DeviceInterrupts, allowed: Int
    ) throws(InterruptError) {
        let group = try device.makeGroup(type)
        let isOn = device.workingType == type
        let size = isOn ? group.blockSize : 0
        guard range.upperBound > size else { return try rewire(range, eventfds, group) }
        // Those that the device cannot signal yet. The others are as they are, should there be no room for these.
        let added = max(size, range.lowerBound)..<range.upperBound
        let own = eventfds.suffix(added.count)
        if !own.isEmpty { try group.setNotifiers(first: added.lowerBound, Array(own)) }
        let count = type == .msix ? group.count : blockSize(max(range.upperBound, allowed), atMost: group.count)
        let configurations = (0..<count).map { index in
            InterruptConfiguration(startsMasked: own.isEmpty || !added.contains(index))
        }
        do throws(InterruptError) {
            if isOn { try group.enlarge(configurations) } else { try device.switchTo(type, configurations) }
        } catch {
            try? group.setNotifiers(first: added.lowerBound, own.map { _ in nil })
            throw error
        }
        let before = range.lowerBound..<added.lowerBound
        if !before.isEmpty { try rewire(before, Array(eventfds.prefix(before.count)), group) }
    }

    /// Gives vectors that the device can signal these eventfds, or none.
    private static func rewire(
        _ range: Range<Int>, _ eventfds: [EventFD], _ group: InterruptSourceGroup
    ) throws(InterruptError) {
        if eventfds.isEmpty { return try group.mask(range, releasing: group.type == .msix) }
        try group.setNotifiers(first: range.lowerBound, eventfds)
        try group.unmask(range)
    }

    /// The size of an MSI block that has `count` vectors.
    private static func blockSize(_ count: Int, atMost most: Int) -> Int {
        var size = 1
        while size < count, size < most { size *= 2 }
        return min(size, most)
    }
}

extension DeviceInterrupts {
    /// The group of the type that is on. Throws ``InterruptError/notEnabled`` for another.
    fileprivate func live(_ type: InterruptType) throws(InterruptError) -> InterruptSourceGroup {
        guard workingType == type, let group = group(type) else { throw .notEnabled }
        return group
    }
}
