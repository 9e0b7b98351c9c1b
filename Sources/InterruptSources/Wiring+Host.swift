internal import LinuxSystem

// The host's side: which eventfd the source signals for each vector.
extension Wiring {
    /// Makes the host signal these targets. Turns the type on, or provides for more vectors, where that is needed.
    mutating func connect(_ vectors: VectorSet, to target: (Int) -> Target) throws(InterruptError) {
        try connect(vectors, to: target, done: 0)
    }

    /// As ``connect(_:to:)``, where the first `done` vectors of the same batch came with the type.
    private mutating func connect(
        _ vectors: VectorSet, to target: (Int) -> Target, done first: Int
    ) throws(InterruptError) {
        if vectors.isEmpty { return }
        for index in vectors.indices { try makeDescriptor(index, target(index)) }
        guard let provided else { return try turnOn(vectors, target) }
        let changes = VectorSet(in: vectors) { wires[$0].target != target($0) }
        let needed = 1 + (changes.indices.last { target($0) != .nothing } ?? -1)
        if needed > provided && !source.growsWhileEnabled {
            return try grow(to: needed, changes, target)
        }
        var done = first
        for run in changes.runs {
            try connect(run, target, done: done, asked: first + changes.count)
            done += run.count
        }
    }

    /// Turns the type off.
    mutating func turnOff() throws(InterruptError) {
        guard let count = provided else { return }
        let (targets, wasMasked) = (wires.map(\.target), isLineMasked)
        try source.disable()
        forgetTargets()
        record(.turnedOff(provided: count, targets, lineMasked: wasMasked))
    }

    private mutating func turnOn(_ vectors: VectorSet, _ target: (Int) -> Target) throws(InterruptError) {
        let before = wires.map(\.target)
        let asked = VectorSet(in: vectors) { target($0) != .nothing }
        let isLazy = type == .msix && source.growsWhileEnabled
        let count: Int
        if isLazy {
            // Those from vector 0 on come with the type, which the host allocates in one go. A hole would take a host
            // vector for nothing, so that the others follow; vector 0 itself may be one, and then takes none.
            let first = vectors.runs.first.flatMap { $0.lowerBound == 0 ? $0 : nil } ?? 0..<0
            count = first.prefix { target($0) != .nothing }.count
        } else {
            count = 1 + (vectors.indices.last { target($0) != .nothing || type == .msi } ?? 0)
        }
        for index in vectors.indices where !isLazy || index < count { wires[index].target = target(index) }
        do {
            try enable(count: max(1, count))
        } catch {
            let limited = limited(error, asked, before)
            forgetTargets()
            throw limited
        }
        record(.turnedOn)
        if isLazy { try connect(vectors, to: target, done: count) }
    }

    /// Turns the type off and on again with room for more vectors. What the eventfds have counted stays in them.
    private mutating func grow(
        to count: Int, _ changes: VectorSet, _ target: (Int) -> Target
    ) throws(InterruptError) {
        let before = wires.map(\.target)
        try turnOff()
        setTargets(first: 0, before)
        for index in changes.indices { wires[index].target = target(index) }
        do {
            try enable(count: count)
        } catch {
            let limited = limited(error, changes, before)
            forgetTargets()
            throw limited
        }
        record(.turnedOn)
    }

    private mutating func enable(count: Int) throws(InterruptError) {
        noteConnected(0..<count)
        try source.enable(descriptors(0..<count))
        provided = count
    }

    private mutating func connect(
        _ run: Range<Int>, _ target: (Int) -> Target, done: Int, asked: Int
    ) throws(InterruptError) {
        let previous = wires[run].map(\.target)
        for index in run { wires[index].target = target(index) }
        noteConnected(run)
        do {
            try source.connect(first: run.lowerBound, descriptors(run))
        } catch {
            // The kernel has disconnected the whole range, also what was connected before.
            setTargets(first: run.lowerBound, previous)
            reconnect(run, descriptors(run))
            returnHeld(run)
            guard case .hostExhausted(_, let available) = error else { throw error }
            throw .hostExhausted(asked: asked, available: done + available)
        }
        provided = max(provided ?? 0, run.upperBound)
        record(.connected(first: run.lowerBound, previous))
    }

    /// Connects a disconnected range again, together or else one by one.
    mutating func reconnect(_ run: Range<Int>, _ eventfds: [EventFD?]) {
        if (try? source.connect(first: run.lowerBound, eventfds)) != nil { return }
        for (index, eventfd) in zip(run, eventfds) where (try? source.connect(first: index, [eventfd])) == nil {
            wires[index].target = .nothing
        }
    }

    mutating func setTargets(first: Int, _ targets: [Target]) {
        for (index, target) in zip(first..<first + targets.count, targets) { wires[index].target = target }
    }

    /// The type is off, and with it goes all that was set on it.
    mutating func forgetTargets() {
        provided = nil
        isUnmaskNotifierSet = false
        isLineMasked = false
        for index in wires.indices { wires[index].target = .nothing }
    }

    /// Before an attempt: also in one that fails half way an event can come.
    private mutating func noteConnected(_ run: Range<Int>) {
        for index in run where wires[index].target == .notifier { wires[index].mayHaveCounted = true }
    }

    /// Says how many of the vectors asked for could be had, where the source counts from vector 0. Those that were
    /// connected before stay so, and take nothing anew.
    private func limited(_ error: InterruptError, _ asked: VectorSet, _ before: [Target]) -> InterruptError {
        guard case .hostExhausted(_, let available) = error else { return error }
        let possible = wires.prefix(max(0, available)).count { $0.target != .nothing }
        var room = possible - before.count { $0 != .nothing }
        let fitting = asked.indices.prefix { index in
            if before[index] == .nothing { room -= 1 }
            return room >= 0
        }
        return .hostExhausted(asked: asked.count, available: fitting.count)
    }
}
