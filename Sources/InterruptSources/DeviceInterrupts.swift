internal import LinuxSystem

/// The interrupt source groups of one device, of which at most one is live: its working mode is INTx, MSI, MSI-X or none.
///
/// A switch from one to another either ends in the new mode or leaves the old one live, with its configurations, masks
/// and pending interrupts. What a VM has to give (numbers, routes, irqfds) is taken before the old mode is touched, and
/// the time in which the device has neither is that of two calls of VFIO_DEVICE_SET_IRQS.
///
/// A group can be used directly, also for ``InterruptSourceGroup/enable(_:)``, which throws
/// ``InterruptError/otherTypeActive`` while another is live. Several devices can share one sink, and a pin.
///
/// Locks are taken in this order: the device's, then that of a group (of two in a switch, which nobody else does), then
/// those of its source and its sink. So a call of the device may wait for one of its groups, and never the other way
/// round.
public final class DeviceInterrupts: Sendable {
    /// Why a type could not be had.
    public struct Refusal: Hashable, Sendable {
        /// The type.
        public let type: InterruptType
        /// What stood against it.
        public let error: InterruptError
    }

    /// What ``enableBest(_:)`` came to.
    public struct Choice: Hashable, Sendable {
        /// The type that is live.
        public let type: InterruptType
        /// Why not each better one, best first.
        public let refusals: [Refusal]
    }

    /// The types that the device has, best first: MSI-X, MSI, INTx.
    public let types: [InterruptType]
    private let sources: [InterruptType: any InterruptSource]
    private let sink: (any InterruptSink)?
    private let pin: Int?
    private let state = Lock(State())

    private struct State {
        var isDestroyed = false
        var groups: [InterruptType: InterruptSourceGroup] = [:]

        var live: InterruptSourceGroup? { groups.values.first { $0.phase == .live } }
    }

    /// The interrupts that these sources of one device raise, one source for each type that it has. `pin` is the IOAPIC
    /// pin of its INTx line in the sink's VM; without one there, or where another process owns the VM, nil.
    ///
    /// Throws ``InterruptError/wrongConfigurationKind(_:)`` for two sources of one type.
    public init(
        _ sources: [any InterruptSource], sink: (any InterruptSink)?, pin: Int? = nil
    ) throws(InterruptError) {
        var byType: [InterruptType: any InterruptSource] = [:]
        for source in sources {
            guard byType.updateValue(source, forKey: source.type) == nil else {
                throw .wrongConfigurationKind(source.type)
            }
        }
        self.sources = byType
        types = DeviceInterrupts.bestFirst.filter { byType[$0] != nil }
        self.sink = sink
        self.pin = pin
    }

    deinit {
        destroy()
    }

    /// The type that is live; nil for none.
    public var workingType: InterruptType? { state.withLock { $0.live?.type } }

    /// The group of a type, if it was made.
    public func group(_ type: InterruptType) -> InterruptSourceGroup? { state.withLock { $0.groups[type] } }

    /// Makes the group of a type, over the first `count` of the device's vectors, all if nil; the one that is there if
    /// it has as many. One that has another number of them is destroyed.
    ///
    /// Throws ``InterruptError/noSuchType(_:)``, ``InterruptError/alreadyEnabled`` for a live group of another count,
    /// and what ``InterruptSourceGroup/init(source:sink:count:pin:)`` throws.
    @discardableResult
    public func makeGroup(
        _ type: InterruptType, count: Int? = nil
    ) throws(InterruptError) -> InterruptSourceGroup {
        try state.withLock { (state) throws(InterruptError) in try makeGroup(type, count, &state) }
    }

    /// Destroys the group of a type and gives its numbers back. None is no error.
    public func destroyGroup(_ type: InterruptType) {
        state.withLock { $0.groups.removeValue(forKey: type)?.destroy() }
    }

    /// Makes `type` the one that is live, with these configurations, nil for those its group remembers; with nil as the
    /// type, none is. A group that there is not yet is made.
    ///
    /// Throws what ``InterruptSourceGroup/enable(_:)`` throws. Then the working type is what it was, with all that
    /// belongs to it, and a group that was made for the switch is gone.
    public func switchTo(
        _ type: InterruptType?, _ configurations: [InterruptConfiguration]? = nil
    ) throws(InterruptError) {
        try state.withLock { (state) throws(InterruptError) in
            guard let type else {
                try state.live?.disable()
                return
            }
            let isNew = state.groups[type] == nil
            let group = try makeGroup(type, state.groups[type]?.count, &state)
            do throws(InterruptError) {
                try group.enable(configurations, inPlaceOf: state.live)
            } catch {
                // One that the kernel did not let go is kept, so that it is tried again when it is destroyed.
                if isNew && !group.isWired { state.groups.removeValue(forKey: type)?.destroy() }
                throw error
            }
        }
    }

    /// Switches to the best type that can be had: MSI-X, then MSI, then INTx. Only types that have an entry in
    /// `configurations` count, whether the device has them or not.
    ///
    /// Throws ``InterruptError/everyTypeRefused(_:)``. Then the working type is what it was.
    public func enableBest(
        _ configurations: [InterruptType: [InterruptConfiguration]]
    ) throws(InterruptError) -> Choice {
        var refusals: [Refusal] = []
        for type in DeviceInterrupts.bestFirst {
            guard let wanted = configurations[type] else { continue }
            do throws(InterruptError) {
                try switchTo(type, wanted)
                return Choice(type: type, refusals: refusals)
            } catch {
                if error == .destroyed { throw error }
                refusals.append(Refusal(type: type, error: error))
            }
        }
        throw .everyTypeRefused(refusals)
    }

    /// Destroys all groups, and with it every call but this one and a switch to none is an error. The second time it
    /// does nothing.
    public func destroy() {
        state.withLock { state in
            for group in state.groups.values { group.destroy() }
            state.groups = [:]
            state.isDestroyed = true
        }
    }

    private static let bestFirst: [InterruptType] = [.msix, .msi, .legacy]

    private func makeGroup(
        _ type: InterruptType, _ count: Int?, _ state: inout State
    ) throws(InterruptError) -> InterruptSourceGroup {
        if state.isDestroyed { throw .destroyed }
        guard let source = sources[type] else { throw .noSuchType(type) }
        let count = count ?? source.count
        let old = state.groups[type]
        if let old {
            if old.count == count { return old }
            if old.phase == .live { throw .alreadyEnabled }
        }
        let group = try InterruptSourceGroup(
            source: source, sink: sink, count: count, pin: type == .legacy ? pin : nil)
        old?.destroy()
        state.groups[type] = group
        return group
    }
}
