internal import LinuxSystem

/// What stands in the kernel for the vectors of one group, and the one place that knows in which order it is put up and
/// taken down, and how a step is undone when a later one fails.
///
/// Up: route, irqfd, VFIO. Down: VFIO, irqfd, route. An irqfd without a route swallows events, and an eventfd without
/// an irqfd keeps them, so that neither order loses or invents one.
struct Wiring: Sendable {
    /// What the host signals for a vector.
    enum Target: Sendable {
        case nothing
        /// The vector's notifier.
        case notifier
        /// A private eventfd, whose count is the pending bit.
        case holding
    }

    /// One vector.
    struct Wire: Sendable {
        var target = Target.nothing
        var isAttached = false
        /// Whether somebody else has the notifier and may write it, or make a writer of it block.
        var isHandedOut = false
        /// A pending interrupt that no eventfd counts.
        var isPending = false
        /// Whether the notifier's count can be anything but 0. Most are attached when nobody can have signalled them
        /// yet, and asking would be a system call for each.
        var mayHaveCounted = false
        var route: InterruptRoute?
        var notifier: EventFD?
        var holding: EventFD?
    }

    /// A step that was taken, with what is needed to take it back.
    enum Step: Sendable {
        case routed([RouteChange])
        case attached(Range<Int>)
        case detached(Range<Int>)
        case connected(first: Int, [Target])
        case turnedOn
        case turnedOff(provided: Int, [Target], lineMasked: Bool)
        case unmaskNotifier(wasSet: Bool)
        case lineMasked(was: Bool)
        case replaced(first: Int, [Wire])
        case joined(Int, EventFD, hadCounted: Bool)
        case parted(Int, EventFD)
        case swapped(first: Int, [EventFD?])
        case resampleReplaced(EventFD?)
        case madeNotifiers(Range<Int>)
        case madeHoldings(Range<Int>)
    }

    /// The halves in which a group goes down while another of its device comes up between them.
    enum Half {
        /// VFIO: one type at a time can be on.
        case host
        /// Irqfds and routes, which can wait.
        case machine
    }

    /// Takes one half of another group down.
    typealias GiveWay = (Half) throws(InterruptError) -> Void

    /// Makes eventfds.
    typealias NewEventFD = @Sendable () throws(KernelError) -> EventFD

    let source: any InterruptSource
    let type: InterruptType
    let sink: (any InterruptSink)?
    /// Asked for each vector of a batch, where a look at `sink` itself would copy it.
    let hasSink: Bool
    /// The first Interrupt Source Identifier.
    let base: Int
    var wires: [Wire]
    /// How many vectors the host provides for; nil while the type is off.
    var provided: Int?
    /// Level only: what the guest's EOI signals.
    var resample: EventFD?
    var isUnmaskNotifierSet = false
    var isLineMasked = false
    /// Irqfds that should be gone, but the kernel refused.
    private var strays: [(index: Int, notifier: EventFD)] = []
    private var steps: [Step] = []

    let newEventFD: NewEventFD

    init(
        source: any InterruptSource, sink: (any InterruptSink)?, base: Int, count: Int,
        newEventFD: @escaping NewEventFD
    ) {
        self.newEventFD = newEventFD
        self.source = source
        type = source.type
        self.sink = sink
        hasSink = sink != nil
        self.base = base
        wires = Array(repeating: Wire(), count: count)
    }

    var all: VectorSet { VectorSet(0..<wires.count) }

    /// Whether the host's descriptor is swapped while a vector is masked. Otherwise the irqfd is detached and the
    /// notifier counts: plain MSI has no mask in the device that would hold an event during the swap.
    func swaps(_ index: Int) -> Bool { type == .msix || !hasSink || wires[index].isHandedOut }

    /// What the host signals for a vector that starts masked, or stays so in a larger block. MSI provides for the whole
    /// block at once, so that something has to count; an MSI-X vector is left to the device, which holds what it raises.
    func startingTarget(_ index: Int) -> Target {
        switch type {
        case .msi: swaps(index) || wires[index].target == .holding ? .holding : .notifier
        case .msix, .legacy: .nothing
        }
    }

    /// Whether anything stands in the kernel but a pin's route, which is the VM's own.
    var isStanding: Bool {
        provided != nil || !strays.isEmpty || wires.contains { $0.isAttached || ($0.route != nil && type != .legacy) }
    }

    // MARK: Transactions

    /// Runs `body`; if it throws, takes back every step that it took, last first.
    mutating func transaction(
        _ body: (inout Wiring) throws(InterruptError) -> Void
    ) throws(InterruptError) {
        dropStrays()
        steps = []
        defer { steps = [] }
        do throws(InterruptError) {
            try body(&self)
        } catch {
            for step in steps.reversed() { undo(step) }
            throw error
        }
    }

    /// Tries again to take away what could not be when a step was undone.
    mutating func dropStrays() {
        if strays.isEmpty { return }
        strays = strays.filter { (try? sink?.detach($0.notifier, from: base + $0.index)) == nil }
    }

    /// Takes away an irqfd that stands beside its vector's own. Returns false if that has to wait for the next call.
    mutating func drop(_ notifier: EventFD, of index: Int) -> Bool {
        strays.append((index, notifier))
        dropStrays()
        return !strays.contains { $0.notifier === notifier }
    }

    mutating func record(_ step: Step) {
        // What comes one by one is one step as a batch.
        switch (steps.last, step) {
        case (.madeNotifiers(let run), .madeNotifiers(let next)) where run.upperBound == next.lowerBound:
            steps[steps.count - 1] = .madeNotifiers(run.lowerBound..<next.upperBound)
        case (.madeHoldings(let run), .madeHoldings(let next)) where run.upperBound == next.lowerBound:
            steps[steps.count - 1] = .madeHoldings(run.lowerBound..<next.upperBound)
        case (.attached(let run), .attached(let next)) where run.upperBound == next.lowerBound:
            steps[steps.count - 1] = .attached(run.lowerBound..<next.upperBound)
        case (.detached(let run), .detached(let next)) where run.upperBound == next.lowerBound:
            steps[steps.count - 1] = .detached(run.lowerBound..<next.upperBound)
        default: steps.append(step)
        }
    }

    // MARK: Routes and irqfds

    /// Gives vectors these routes, nil for none, in one table commit; none if nothing changes.
    mutating func setRoutes(
        _ vectors: VectorSet, _ route: (Int) -> InterruptRoute?
    ) throws(InterruptError) {
        guard let sink else { return }
        var changes: [RouteChange] = []
        var previous: [RouteChange] = []
        changes.reserveCapacity(vectors.count)
        previous.reserveCapacity(vectors.count)
        for index in vectors.indices {
            let wanted = route(index)
            if wires[index].route == wanted { continue }
            changes.append(RouteChange(base + index, wanted))
            previous.append(RouteChange(base + index, wires[index].route))
        }
        if changes.isEmpty { return }
        try sink.commit(changes)
        record(.routed(previous))
        note(changes)
    }

    mutating func note(_ changes: [RouteChange]) {
        for change in changes { wires[change.number - base].route = change.route }
    }

    /// Lets the notifiers of these vectors raise their numbers. What they had counted becomes the pending bit, because
    /// the kernel would deliver it at once and leave the count in place.
    mutating func attach(_ vectors: VectorSet) throws(InterruptError) {
        guard let sink else { return }
        for index in vectors.indices { _ = try notifier(of: index) }
        for index in vectors.indices where !wires[index].isAttached {
            let notifier = try notifier(of: index)
            if wires[index].mayHaveCounted, notifier.drain() > 0 { wires[index].isPending = true }
            try sink.attach(notifier, to: base + index, resample: resample)
            wires[index].isAttached = true
            record(.attached(index..<index + 1))
        }
    }

    /// Ends that, with a request for each.
    ///
    /// To close the eventfds, at which KVM takes its irqfds away by itself, would take half the time of a large group and
    /// is not done, for three reasons. Only this request waits for an interrupt that KVM has handed to a work queue
    /// (irqfd_shutdown, virt/kvm/eventfd.c), which could else arrive when the vector is live again. A closed eventfd cannot
    /// be put back when a later step fails. And whether ours is the last descriptor is not ours to know: a child that is
    /// being forked has a copy of each.
    mutating func detach(_ vectors: VectorSet) throws(InterruptError) {
        guard let sink else { return }
        for index in vectors.indices where wires[index].isAttached {
            guard let notifier = wires[index].notifier else { continue }
            try sink.detach(notifier, from: base + index)
            wires[index].isAttached = false
            record(.detached(index..<index + 1))
        }
    }
}
