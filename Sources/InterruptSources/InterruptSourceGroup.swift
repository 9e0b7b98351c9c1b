public import LinuxSystem

/// All interrupt sources of one type of one device, enabled and disabled as a whole, because MSI vectors cannot be
/// enabled one by one.
///
/// A group is configured, live or destroyed. Each vector has a configuration, a mask and, while masked, a pending bit:
///
/// | call | configured | live, vector unmasked | live, vector masked |
/// |---|---|---|---|
/// | enable | becomes live | same configurations: nothing; else an error | same |
/// | disable | nothing | becomes configured, pending interrupts forgotten, masks kept | same |
/// | enlarge, MSI | error | goes on in a larger block | same, with what is pending |
/// | update | remembered | one table commit, none if unchanged | remembered, committed on unmask |
/// | mask | remembered | nothing is delivered from its return to the call of unmask | nothing |
/// | unmask | remembered | nothing | one interrupt if one is pending, else none |
/// | trigger | error | one interrupt | pending becomes true |
/// | pendingState | false | false | the bit, without consuming it |
///
/// Destroyed, every call is an error but disable and destroy. A call that throws has changed nothing, unless it says
/// otherwise. All calls are synchronous, may block for the kernel, and can come from any thread: one lock per group.
///
/// Where the kernel also refuses to take a step of a failed call back, the call still throws what stood against it first.
/// Phase, configurations and masks are as before, and nothing is delivered for a masked vector; ``snapshot()`` shows as
/// connected only what is. ``disable()`` then gives back all that is left, also of a configured group, after which the
/// group can be enabled as before.
///
/// With a sink the group drives a VM of this process. Without one its notifiers are handed to another process, which
/// joins them to its own VM: there are no routes, ``base`` is 0, and ``trigger(_:)`` is the source's loopback.
public final class InterruptSourceGroup: Sendable {
    /// The type.
    public let type: InterruptType
    /// How many vectors the group has.
    public let count: Int
    /// The first Interrupt Source Identifier: the first of `count` numbers of the VM, the IOAPIC pin of a legacy source,
    /// or 0 where another process owns the VM.
    public let base: Int
    let state: Lock<GroupState>

    /// Creates a configured group over the first `count` vectors of `source`, all if nil, without a kernel call but the
    /// reservation of its numbers.
    ///
    /// `pin` is the IOAPIC pin, 0 to 23, that a legacy source raises; only a legacy source with a sink has one, and it
    /// needs one.
    ///
    /// Throws ``InterruptError/invalidCount(_:_:)`` for a count that the type or the source cannot have,
    /// ``InterruptError/wrongConfigurationKind(_:)`` for a pin too few or too many,
    /// ``InterruptError/numbersExhausted(asked:available:)`` if the VM has no room for the block.
    public convenience init(
        source: any InterruptSource, sink: (any InterruptSink)?, count: Int? = nil, pin: Int? = nil
    ) throws(InterruptError) {
        try self.init(source: source, sink: sink, count: count, pin: pin, newEventFD: EventFD.init)
    }

    /// As above, with another way to make eventfds, which a test has fail.
    package init(
        source: any InterruptSource, sink: (any InterruptSink)?, count: Int?, pin: Int?,
        newEventFD: @escaping @Sendable () throws(KernelError) -> EventFD
    ) throws(InterruptError) {
        let count = count ?? source.count
        let type = source.type
        guard type.allows(count), count <= source.count else { throw .invalidCount(type, count) }
        guard (pin != nil) == (type == .legacy && sink != nil), pin.map((0..<24).contains) ?? true else {
            throw .wrongConfigurationKind(type)
        }
        var base = pin ?? 0
        if let sink, type != .legacy {
            base = try sink.reserve(count)
            // Whoever made the sink, no number may be beyond what can be counted.
            guard base >= 0, base <= Int.max - count else { throw .numbersExhausted(asked: count, available: 0) }
        }
        self.type = type
        self.count = count
        self.base = base
        state = Lock(
            GroupState(
                Wiring(source: source, sink: sink, base: base, count: count, newEventFD: newEventFD)))
    }

    deinit {
        state.withLock { $0.destroy() }
    }

    /// Becomes live with these configurations, in one table commit; nil for those remembered, with the masks as they
    /// are now. An MSI group takes a power of two of at most ``count`` of them, and is then a block of that many vectors
    /// until it is enabled with another number of them; the others take one per vector.
    ///
    /// With a sink every vector needs a message, but for those of an MSI-X table that start masked.
    ///
    /// Throws ``InterruptError/wrongConfigurationCount(given:needed:)``, ``InterruptError/wrongConfigurationKind(_:)``,
    /// ``InterruptError/differentMessages``, ``InterruptError/alreadyEnabled`` when live with others, and
    /// ``InterruptError/hostExhausted(asked:available:)``.
    public func enable(_ configurations: [InterruptConfiguration]? = nil) throws(InterruptError) {
        try state.withLock { (state) throws(InterruptError) in try state.enable(configurations) }
    }

    /// As ``enable(_:)``, and a live `other` of the same device becomes configured, both or neither. Holds two groups'
    /// locks: only for the device's owner, under a lock of its own.
    func enable(
        _ configurations: [InterruptConfiguration]?, inPlaceOf other: InterruptSourceGroup?
    ) throws(InterruptError) {
        guard let other, other !== self else { return try enable(configurations) }
        try other.state.withLock { (old) throws(InterruptError) in
            try state.withLock { (new) throws(InterruptError) in
                try old.giveWay { (giveWay) throws(InterruptError) in
                    try new.enable(configurations, giveWay)
                }
            }
        }
    }

    /// How many vectors take part: all, or of an MSI group the block that was enabled last.
    public var blockSize: Int { state.withLock { $0.active } }

    /// Makes a live MSI block larger: of as many vectors as there are configurations, a power of two of more than
    /// ``blockSize`` and at most ``count``. Those that took part keep their masks and what is pending, whatever
    /// `startsMasked` says of them; all get the messages, in one table commit.
    ///
    /// The host cannot add vectors to a block, so it is turned off and on again. What the device raises between the two is
    /// lost, as plain MSI has no mask that would hold it; what eventfds have counted by then, whoever has them, is not. If
    /// the larger block cannot be had, the one that was is on again.
    ///
    /// Throws ``InterruptError/notEnabled`` unless live, ``InterruptError/wrongConfigurationCount(given:needed:)`` for no
    /// larger block, ``InterruptError/invalidCount(_:_:)`` for another type than MSI, and what ``enable(_:)`` throws.
    public func enlarge(_ configurations: [InterruptConfiguration]) throws(InterruptError) {
        try state.withLock { (state) throws(InterruptError) in try state.enlarge(configurations) }
    }

    /// Becomes configured: nothing is delivered after it returns, and what was pending is forgotten. Masks and
    /// configurations are kept, of an MSI block also its size. Nothing if it is configured, but for what an earlier call
    /// could not give back.
    public func disable() throws(InterruptError) {
        try state.withLock { (state) throws(InterruptError) in try state.disable() }
    }

    /// Gives one vector another message; in an MSI block, all of them. Its `startsMasked` counts only while the group
    /// is configured.
    public func update(_ index: Int, _ configuration: InterruptConfiguration) throws(InterruptError) {
        try update(first: index, [configuration])
    }

    /// Gives vectors from `first` other messages together, in one table commit; none if those that are not masked keep
    /// theirs. Of an MSI block all vectors change, and what is given must be of one block.
    public func update(first: Int, _ configurations: [InterruptConfiguration]) throws(InterruptError) {
        try state.withLock { (state) throws(InterruptError) in
            try state.update(first: first, configurations)
        }
    }

    /// Raises one interrupt, as if the device had. With a sink the vector's own notifier is written. A notifier that
    /// was handed out or in, and so every notifier of a group without a sink, is signalled by the source's loopback
    /// (VFIO_DEVICE_SET_IRQS with ACTION_TRIGGER), because its holder could make a writer block.
    public func trigger(_ index: Int) throws(InterruptError) {
        try state.withLock { (state) throws(InterruptError) in try state.trigger(index) }
    }

    /// The eventfd of one vector, to be handed to somebody else; nil for a wrong index. Made on first use, and the same
    /// until another is handed in. Whoever only wants to raise an interrupt calls ``trigger(_:)``.
    public func notifier(_ index: Int) throws(InterruptError) -> EventFD? {
        try state.withLock { (state) throws(InterruptError) in try state.notifier(index) }
    }

    /// Makes this eventfd, which somebody else has too, the notifier of one vector; nil puts one of the group's own
    /// back.
    public func setNotifier(_ index: Int, _ notifier: EventFD?) throws(InterruptError) {
        try setNotifiers(first: index, [notifier])
    }

    /// Makes these eventfds, which somebody else has too, the notifiers of vectors from `first`; nil puts one of the
    /// group's own back. That a received descriptor is an eventfd is checked where it becomes an ``EventFD``.
    ///
    /// No interrupt of a live vector is lost or repeated: the new irqfd stands beside the old one until the host has
    /// changed over, in one VFIO_DEVICE_SET_IRQS for each run of them; only plain MSI, which has no mask, can lose what
    /// the device raises during that call. What a new eventfd has counted by then is one interrupt.
    public func setNotifiers(first: Int, _ notifiers: [EventFD?]) throws(InterruptError) {
        try state.withLock { (state) throws(InterruptError) in try state.setNotifiers(first: first, notifiers) }
    }

    /// The eventfd that the guest's EOI is to signal, to be handed to somebody else; nil unless the type is legacy.
    /// Made on first use, and the same until another is handed in.
    public func resampleNotifier() throws(InterruptError) -> EventFD? {
        try state.withLock { (state) throws(InterruptError) in try state.resampleNotifier() }
    }

    /// Makes this eventfd, which somebody else has too, the one that the guest's EOI signals; nil puts one of the
    /// group's own back. Throws ``InterruptError/notLevelTriggered`` unless the type is legacy.
    public func setResampleNotifier(_ notifier: EventFD?) throws(InterruptError) {
        try state.withLock { (state) throws(InterruptError) in try state.setResampleNotifier(notifier) }
    }

    /// Masks one vector.
    public func mask(_ index: Int) throws(InterruptError) {
        try mask(try one(index))
    }

    /// Masks these vectors together: one VFIO_DEVICE_SET_IRQS for each run of them that is not masked yet.
    ///
    /// With `releasing`, MSI-X vectors also give back their host interrupts, irqfds and routes, as if they had started
    /// masked. What the device then raises it holds itself (Pending Bit Array) until unmask, and
    /// ``pendingState(_:)`` does not show it. Other types are masked as without it.
    public func mask(_ indices: Range<Int>, releasing: Bool = false) throws(InterruptError) {
        try state.withLock { (state) throws(InterruptError) in try state.mask(indices, releasing: releasing) }
    }

    /// Unmasks one vector, as ``unmask(_:)`` of a range does.
    public func unmask(_ index: Int) throws(InterruptError) {
        try unmask(try one(index))
    }

    /// Unmasks these vectors together: one table commit and one VFIO_DEVICE_SET_IRQS for each run of them that is
    /// masked. Throws ``InterruptError/hostExhausted(asked:available:)``: none was unmasked, and a range that ends after
    /// the first `available` masked vectors of this one can be; ``InterruptError/wrongConfigurationKind(_:)`` for a
    /// vector that has no message yet.
    public func unmask(_ indices: Range<Int>) throws(InterruptError) {
        try state.withLock { (state) throws(InterruptError) in try state.unmask(indices) }
    }

    /// Whether an interrupt of a masked vector waits for unmask; false for a wrong index.
    public func pendingState(_ index: Int) throws(InterruptError) -> Bool {
        try state.withLock { (state) throws(InterruptError) in try state.pendingState(index) }
    }

    /// Where the group is in its life.
    public var phase: InterruptSnapshot.Phase { state.withLock { $0.phase } }

    /// Whether anything of it stands in the kernel.
    var isWired: Bool { state.withLock { $0.wiring.isStanding } }

    /// The group as it is now. A line whose state cannot be read counts as not pending.
    public func snapshot() -> InterruptSnapshot {
        state.withLock { $0.snapshot() }
    }

    /// Takes everything down, whatever the kernel says, and gives the numbers back. What it refuses twice stays until the
    /// device and the VM are closed. The second time it does nothing.
    public func destroy() {
        state.withLock { $0.destroy() }
    }

    private func one(_ index: Int) throws(InterruptError) -> Range<Int> {
        guard index >= 0, index < count else { throw .noSuchVector(index: index, count: count) }
        return index..<index + 1
    }
}
