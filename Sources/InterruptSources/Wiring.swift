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
        case turnedOff(provided: Int, [Target])
        case unmaskNotifier(wasSet: Bool)
        case lineMasked(was: Bool)
    }

    let source: any InterruptSource
    let type: InterruptType
    let sink: (any InterruptSink)?
    /// The first Interrupt Source Identifier.
    let base: Int
    var wires: [Wire]
    /// How many vectors the host provides for; nil while the type is off.
    var provided: Int?
    /// Level only: what the guest's EOI signals.
    var resample: EventFD?
    var isUnmaskNotifierSet = false
    var isLineMasked = false
    private var steps: [Step] = []

    init(source: any InterruptSource, sink: (any InterruptSink)?, base: Int, count: Int) {
        self.source = source
        type = source.type
        self.sink = sink
        self.base = base
        wires = Array(repeating: Wire(), count: count)
    }

    var all: VectorSet { VectorSet(0..<wires.count) }

    /// Whether the host's descriptor is swapped while a vector is masked. Otherwise the irqfd is detached and the
    /// notifier counts: plain MSI has no mask in the device that would hold an event during the swap.
    var swaps: Bool { type == .msix || sink == nil }

    // MARK: Transactions

    /// Runs `body`; if it throws, takes back every step that it took, last first.
    mutating func transaction(
        _ body: (inout Wiring) throws(InterruptError) -> Void
    ) throws(InterruptError) {
        steps = []
        defer { steps = [] }
        do throws(InterruptError) {
            try body(&self)
        } catch {
            for step in steps.reversed() { undo(step) }
            throw error
        }
    }

    mutating func record(_ step: Step) {
        // Irqfds come one by one; a batch of them is one step.
        switch (steps.last, step) {
        case (.attached(let run), .attached(let next)) where run.upperBound == next.lowerBound:
            steps[steps.count - 1] = .attached(run.lowerBound..<next.upperBound)
        case (.detached(let run), .detached(let next)) where run.upperBound == next.lowerBound:
            steps[steps.count - 1] = .detached(run.lowerBound..<next.upperBound)
        default: steps.append(step)
        }
    }

    /// Takes a step back as far as the kernel lets us. What it refuses is recorded as it then is.
    private mutating func undo(_ step: Step) {
        switch step {
        case .routed(let previous):
            if (try? sink?.commit(previous)) != nil { note(previous) }
        case .attached(let run):
            for index in run.reversed() {
                guard let notifier = wires[index].notifier else { continue }
                if (try? sink?.detach(notifier, from: base + index)) != nil { wires[index].isAttached = false }
            }
        case .detached(let run):
            for index in run.reversed() {
                guard let notifier = wires[index].notifier else { continue }
                if (try? sink?.attach(notifier, to: base + index, resample: resample)) != nil {
                    wires[index].isAttached = true
                }
            }
        case .connected(let first, let targets):
            setTargets(first: first, targets)
            reconnect(first..<first + targets.count)
        case .turnedOn:
            if (try? source.disable()) != nil { forgetTargets() }
        case .turnedOff(let count, let targets):
            setTargets(first: 0, targets)
            guard (try? source.enable(descriptors(0..<count))) != nil else { return forgetTargets() }
            provided = count
            if type == .legacy { try? source.setLineMasked(isLineMasked) }
        case .unmaskNotifier(let wasSet):
            if (try? source.setUnmaskNotifier(wasSet ? resample : nil)) != nil { isUnmaskNotifierSet = wasSet }
        case .lineMasked(let was):
            if (try? source.setLineMasked(was)) != nil { isLineMasked = was }
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

    private mutating func note(_ changes: [RouteChange]) {
        for change in changes { wires[change.number - base].route = change.route }
    }

    /// Lets the notifiers of these vectors raise their numbers. What they had counted becomes the pending bit, because
    /// the kernel would deliver it at once and leave the count in place.
    mutating func attach(_ vectors: VectorSet) throws(InterruptError) {
        guard let sink else { return }
        for index in vectors.indices where !wires[index].isAttached {
            let notifier = try notifier(of: index)
            if wires[index].mayHaveCounted, notifier.drain() > 0 { wires[index].isPending = true }
            try sink.attach(notifier, to: base + index, resample: resample)
            wires[index].isAttached = true
            record(.attached(index..<index + 1))
        }
    }

    /// Ends that.
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
