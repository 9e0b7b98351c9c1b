internal import LinuxSystem

/// What stands in the kernel for the vectors of one group, and the one place that knows in which order it is put up and
/// taken down, and how a step is undone when a later one fails.
///
/// Up: route, irqfd, VFIO. Down: VFIO, irqfd, route. An irqfd without a route swallows events, and an eventfd without
/// an irqfd keeps them, so that neither order loses or invents one.
struct Wiring {
    /// What the host signals for a vector.
    enum Target {
        case nothing
        /// The vector's notifier.
        case notifier
        /// A private eventfd, whose count is the pending bit.
        case holding
    }

    /// One vector.
    struct Wire {
        var target = Target.nothing
        var isAttached = false
        var route: InterruptRoute?
        var notifier: EventFD?
        var holding: EventFD?
        /// Whether somebody else has the notifier and may write it, or make a writer of it block.
        var isHandedOut = false
        /// A pending interrupt that no eventfd counts.
        var isPending = false
    }

    /// A step that was taken, with what is needed to take it back.
    enum Step {
        case routed([Int: InterruptRoute?])
        case attached(Int)
        case detached(Int)
        case connected([Int: Target])
        case turnedOn
        case turnedOff(provided: Int, targets: [Int: Target])
        case unmaskNotifier(wasSet: Bool)
        case lineMasked(was: Bool)
    }

    let source: any InterruptSource
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
        self.sink = sink
        self.base = base
        wires = Array(repeating: Wire(), count: count)
    }

    /// Whether the host's descriptor is swapped while a vector is masked. Otherwise the irqfd is detached and the
    /// notifier counts: plain MSI has no mask in the device that would hold an event during the swap.
    var swaps: Bool { source.type == .msix || sink == nil }

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

    mutating func record(_ step: Step) { steps.append(step) }

    /// Takes a step back as far as the kernel lets us. What it refuses is recorded as it then is.
    private mutating func undo(_ step: Step) {
        switch step {
        case .routed(let previous):
            guard (try? sink?.commit(numbered(previous))) != nil else { return }
            for (index, route) in previous { wires[index].route = route }
        case .attached(let index):
            guard let notifier = wires[index].notifier else { return }
            if (try? sink?.detach(notifier, from: base + index)) != nil { wires[index].isAttached = false }
        case .detached(let index):
            guard let notifier = wires[index].notifier else { return }
            if (try? sink?.attach(notifier, to: base + index, resample: resample)) != nil {
                wires[index].isAttached = true
            }
        case .connected(let previous):
            for run in runs(of: previous.keys) {
                for index in run { wires[index].target = previous[index] ?? .nothing }
                reconnect(run)
            }
        case .turnedOn:
            if (try? source.disable()) != nil { forgetTargets() }
        case .turnedOff(let count, let targets):
            for (index, target) in targets { wires[index].target = target }
            guard (try? source.enable(descriptors(0..<count))) != nil else { return forgetTargets() }
            provided = count
            if source.type == .legacy { try? source.setLineMasked(isLineMasked) }
        case .unmaskNotifier(let wasSet):
            if (try? source.setUnmaskNotifier(wasSet ? resample : nil)) != nil { isUnmaskNotifierSet = wasSet }
        case .lineMasked(let was):
            if (try? source.setLineMasked(was)) != nil { isLineMasked = was }
        }
    }

    // MARK: Routes and irqfds

    /// Gives vectors these routes, nil for none, in one table commit; none if nothing changes.
    mutating func setRoutes(_ wanted: [Int: InterruptRoute?]) throws(InterruptError) {
        guard let sink else { return }
        let changes = wanted.filter { wires[$0.key].route != $0.value }
        if changes.isEmpty { return }
        let previous = changes.reduce(into: [Int: InterruptRoute?]()) {
            $0.updateValue(wires[$1.key].route, forKey: $1.key)
        }
        try sink.commit(numbered(changes))
        record(.routed(previous))
        for (index, route) in changes { wires[index].route = route }
    }

    /// Lets the notifiers of these vectors raise their numbers. What they had counted becomes the pending bit, because
    /// the kernel would deliver it at once and leave the count in place.
    mutating func attach(_ indices: some Sequence<Int>) throws(InterruptError) {
        guard let sink else { return }
        for index in indices where !wires[index].isAttached {
            let notifier = try notifier(of: index)
            if notifier.drain() > 0 { wires[index].isPending = true }
            try sink.attach(notifier, to: base + index, resample: resample)
            wires[index].isAttached = true
            record(.attached(index))
        }
    }

    /// Ends that.
    mutating func detach(_ indices: some Sequence<Int>) throws(InterruptError) {
        guard let sink else { return }
        for index in indices where wires[index].isAttached {
            guard let notifier = wires[index].notifier else { continue }
            try sink.detach(notifier, from: base + index)
            wires[index].isAttached = false
            record(.detached(index))
        }
    }

    // MARK: The host's side

    /// Makes the host signal these targets. Turns the type on, or provides for more vectors, where that is needed.
    mutating func connect(_ wanted: [Int: Target]) throws(InterruptError) {
        for (index, target) in wanted { try makeDescriptor(index, target) }
        guard let provided else { return try turnOn(wanted) }
        let changes = wanted.filter { wires[$0.key].target != $0.value }
        let needed = 1 + (changes.filter { $0.value != .nothing }.keys.max() ?? -1)
        if needed > provided && !source.growsWhileEnabled {
            return try grow(to: needed, changes)
        }
        var done = 0
        for run in runs(of: changes.keys) {
            try connect(run, changes, done: done, asked: changes.count)
            done += run.count
        }
    }

    /// Turns the type off.
    mutating func turnOff() throws(InterruptError) {
        guard let count = provided else { return }
        let targets = connectedTargets()
        try source.disable()
        forgetTargets()
        record(.turnedOff(provided: count, targets: targets))
    }

    private mutating func turnOn(_ wanted: [Int: Target]) throws(InterruptError) {
        if source.type == .msix && source.growsWhileEnabled {
            // Vector 0 without a descriptor turns the type on and takes no host vector; the others follow one by one.
            try enable(count: 1)
            record(.turnedOn)
            return try connect(wanted)
        }
        let highest = wanted.filter { $0.value != .nothing || source.type == .msi }.keys.max() ?? 0
        for (index, target) in wanted { wires[index].target = target }
        do {
            try enable(count: highest + 1)
        } catch {
            let limited = limited(error, asked: wanted.count { $0.value != .nothing }, connected: 0)
            forgetTargets()
            throw limited
        }
        record(.turnedOn)
    }

    /// Turns the type off and on again with room for more vectors. What the eventfds have counted stays in them.
    private mutating func grow(to count: Int, _ changes: [Int: Target]) throws(InterruptError) {
        try turnOff()
        guard case .turnedOff(_, let targets)? = steps.last else { return }
        for (index, target) in targets { wires[index].target = target }
        for (index, target) in changes { wires[index].target = target }
        do {
            try enable(count: count)
        } catch {
            let limited = limited(error, asked: changes.count, connected: targets.count)
            forgetTargets()
            throw limited
        }
        record(.turnedOn)
    }

    private mutating func enable(count: Int) throws(InterruptError) {
        try source.enable(descriptors(0..<count))
        provided = count
    }

    private mutating func connect(
        _ run: Range<Int>, _ changes: [Int: Target], done: Int, asked: Int
    ) throws(InterruptError) {
        let previous = run.reduce(into: [Int: Target]()) { $0[$1] = wires[$1].target }
        for index in run { wires[index].target = changes[index] ?? .nothing }
        do {
            try source.connect(first: run.lowerBound, descriptors(run))
        } catch {
            // The kernel has disconnected the whole range, also what was connected before.
            for index in run { wires[index].target = previous[index] ?? .nothing }
            reconnect(run)
            guard case .hostExhausted(_, let available) = error else { throw error }
            throw .hostExhausted(asked: asked, available: done + available)
        }
        provided = max(provided ?? 0, run.upperBound)
        record(.connected(previous))
    }

    /// Connects a disconnected range again to the targets that are recorded, together or else one by one.
    private mutating func reconnect(_ run: Range<Int>) {
        if (try? source.connect(first: run.lowerBound, descriptors(run))) != nil { return }
        for index in run where (try? source.connect(first: index, descriptors(index..<index + 1))) == nil {
            wires[index].target = .nothing
        }
    }

    private mutating func forgetTargets() {
        provided = nil
        for index in wires.indices { wires[index].target = .nothing }
    }

    private func connectedTargets() -> [Int: Target] {
        wires.indices.reduce(into: [:]) { targets, index in
            if wires[index].target != .nothing { targets[index] = wires[index].target }
        }
    }

    /// Says how many of the vectors asked for could be had, where the source counts from vector 0 and `connected` of
    /// what it counts was there before.
    private func limited(_ error: InterruptError, asked: Int, connected: Int) -> InterruptError {
        guard case .hostExhausted(_, let available) = error else { return error }
        let possible = wires.prefix(max(0, available)).count { $0.target != .nothing }
        return .hostExhausted(asked: asked, available: min(asked, max(0, possible - connected)))
    }
}
