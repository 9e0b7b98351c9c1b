import InterruptSources
import LinuxSystem
import TestSupport

// What can be seen after a step, against the model.
extension ModelRun {
    mutating func settle(
        _ before: ModelRun, _ operation: Operation, _ outcome: Outcome, isDisturbed: Bool, isWeak: Bool
    ) throws {
        let arrivals = try bench.arrivals()
        for place in [Place.block, .table] {
            try settleMessages(place, before, operation, arrivals[place] ?? [:], isWeak: isWeak)
        }
        try settleLines(before, operation, outcome, arrivals, isDisturbed: isDisturbed, isWeak: isWeak)
    }

    // MARK: Messages

    /// Events are neither lost nor invented: what was owed and raised has arrived, is pending, or is with the device.
    private mutating func settleMessages(
        _ place: Place, _ before: ModelRun, _ operation: Operation, _ arrivals: [Int: [InterruptMessage?: Int]],
        isWeak: Bool
    ) throws {
        guard let old = before.models[place], var new = models[place] else { return }
        let pending = try bench.group(place).snapshot().vectors.map(\.isPending)
        let isShaky = isShaky(operation, place)
        for index in new.vectors.indices {
            let arrived = arrivals[index] ?? [:]
            try checkMessages(arrived, old, index)
            let was = old.vectors.indices.contains(index) ? old.vectors[index] : GroupModel.Vector()
            let now = new.vectors[index]
            let events = raised[place]?[index] ?? 0
            let count = arrived.values.reduce(0, +)
            let isPending = pending.indices.contains(index) && pending[index]
            let isOffered = offered.map { $0.place == place && $0.vectors.contains(index) } ?? false
            let most = (was.isPending ? 1 : 0) + (was.held == .no ? 0 : 1) + events + (isOffered ? 1 : 0)
            let isHeldSurely = was.held == .yes && !isShaky
            let isRaisedSurely = events > 0 && (was.isWired || !isShaky)
            let isOwed = was.isPending || isHeldSurely || isRaisedSurely
            func fail(_ what: String) -> Difference {
                Difference("vector \(index) of \(place): \(what) (arrived \(arrived), pending \(isPending))")
            }
            if count + (isPending ? 1 : 0) > most { throw fail("invented, of \(most)") }
            let wasSilent = old.isLive && was.isMasked || !old.isLive
            let isSilent = new.isLive && now.isMasked || !new.isLive
            if count > 0 && wasSilent && isSilent && !opens(operation, place) { throw fail("arrived while masked") }
            new.vectors[index].isPending = false
            new.vectors[index].held = .no
            if bench.variant.hasSink, new.phase == .configured || new.isLive && index >= new.active {
                // Somebody else may have written a notifier that nobody listens to.
                let wasApart = !old.isLive || index >= old.active
                let isWritten = now.isHandedOut && events > 0 || wasApart && was.held != .no
                new.vectors[index].held = isWritten ? .maybe : .no
            }
            guard new.isLive, index < new.active else { continue }
            new.vectors[index].isPending = isPending
            let mayBeHeld = !now.isWired && place.type == .msix
            if !isWeak && isOwed && count == 0 && !isPending && !mayBeHeld { throw fail("lost") }
            if !isWeak && was.isPending && count == 0 && !isPending { throw fail("the pending bit is gone") }
            if case .trigger(place, _) = operation, triggered == index, now.isMasked, !isPending {
                throw fail("trigger left nothing pending")
            }
            guard mayBeHeld || isWeak, most - count - (isPending ? 1 : 0) > 0 else { continue }
            new.vectors[index].held = isOwed && count == 0 && !isPending && !isWeak ? .yes : .maybe
        }
        models[place] = new
    }

    /// With a VM of ours: what arrived came by a route that the vector has or had, or was to get.
    private func checkMessages(_ arrived: [InterruptMessage?: Int], _ old: GroupModel, _ index: Int) throws {
        guard bench.variant.hasSink else { return }
        let states = [old, models[old.place], attempted?.place == old.place ? attempted : nil].compactMap(\.self)
        let vectors = states.filter { $0.vectors.indices.contains(index) }.map { $0.vectors[index] }
        for message in arrived.keys where !vectors.contains(where: { $0.route == message }) {
            if vectors.contains(where: { $0.configuration.message == message }) { continue }
            throw Difference("vector \(index) of \(old.place): arrived by a foreign route: \(message as Any)")
        }
    }

    /// Whether what the device alone keeps can get lost: where the number of vectors is fixed, connecting more of them
    /// turns the type off in between, as a disable does that is taken back.
    private func isShaky(_ operation: Operation, _ place: Place) -> Bool {
        if place == .table && !bench.variant.isLinux6dot5 { return true }
        switch operation {
        case .disable, .switchTo: return true
        default: return false
        }
    }

    /// Whether an operation may deliver, even if it is refused half way.
    private func opens(_ operation: Operation, _ place: Place) -> Bool {
        switch operation {
        case .unmask(place, _, _), .enable(place, _, _, _), .enlarge(place, _, _, _), .switchTo(place, _, _, _),
            .wrong(place, _):
            true
        default: false
        }
    }

    // MARK: Lines

    private mutating func settleLines(
        _ before: ModelRun, _ operation: Operation, _ outcome: Outcome,
        _ arrivals: [Place: [Int: [InterruptMessage?: Int]]], isDisturbed: Bool, isWeak: Bool
    ) throws {
        let (raisedLines, maybeRaised) = raiseLines(before, operation, outcome)
        let isShared = bench.variant.hasSink
        for pin in isShared ? [[Place.line, .otherLine]] : [[.line], [.otherLine]] {
            let open = pin.filter { place in
                models[place]?.delivers(0) == true || before.models[place]?.delivers(0) == true
                    || isDisturbed && opens(operation, place)
            }
            let change = LineModel.Change(
                pin: pin,
                before: Set(
                    pin.filter { before.models[$0]?.delivers(0) == true && before.lines.asserted.contains($0) }),
                after: Set(pin.filter { models[$0]?.delivers(0) == true && lines.asserted.contains($0) }),
                open: Set(open), raised: raisedLines.intersection(pin),
                maybeRaised: maybeRaised, isEnd: operation == .end, isDisturbed: isDisturbed, isWeak: isWeak)
            let count = pin.reduce(0) { $0 + (arrivals[$1]?[0] ?? [:]).values.reduce(0, +) }
            try lines.settle(change, arrivals: count, isShared: isShared)
        }
    }

    /// The lines that this step raised, or may have, by other means than their devices' level.
    private mutating func raiseLines(
        _ before: ModelRun, _ operation: Operation, _ outcome: Outcome
    ) -> (sure: Set<Place>, maybe: Set<Place>) {
        var sure: Set<Place> = []
        var maybe: Set<Place> = []
        for place in [Place.line, .otherLine] {
            let isOpen = models[place]?.delivers(0) == true
            if raised[place] != nil { if isOpen { sure.insert(place) } else { lines.maybeTriggered.insert(place) } }
            if isOpen && lines.maybeTriggered.remove(place) != nil { maybe.insert(place) }
            if models[place]?.isLive != true { lines.triggered.remove(place) }
        }
        guard case .done(let place) = outcome, place.type == .legacy, let model = models[place] else {
            return (sure, maybe)
        }
        switch operation {
        case .trigger:
            if model.delivers(0) { sure.insert(place) } else { lines.triggered.insert(place) }
        case .unmask where model.delivers(0):
            if lines.triggered.remove(place) != nil { sure.insert(place) }
        default: break
        }
        return (sure, maybe)
    }

    // MARK: What stands

    /// The groups' own words and what stands in the kernel.
    func compareStanding() throws {
        var connected = 0
        for place in Place.allCases {
            guard let model = models[place] else { continue }
            try compare(place, model)
            if model.isLive && place.type != .legacy { connected += model.vectors.count(where: \.isWired) }
        }
        let left = bench.variant.hostVectors - taken - connected
        if bench.vfio.hostVectors != left { throw Difference("\(bench.vfio.hostVectors) host vectors, not \(left)") }
        let isOn = liveOnFirst
        let index = bench.device(of: .table).activeIndex
        if index != isOn?.rawValue { throw Difference("index \(String(describing: index)) is on, not \(isOn as Any)") }
    }

    /// What a group says is connected is connected, even after undo was refused. Of what it could not put back it cannot
    /// know: a kernel that refuses may have disconnected it before.
    func compareWired(_ place: Place) throws {
        let wired = try bench.group(place).snapshot().vectors.filter(\.isWired).map(\.index)
        let real = bench.device(of: place).activeIndex == place.type.index ? bench.device(of: place).wiredVectors : []
        if !Set(real).isSuperset(of: wired) {
            throw Difference("\(place) says that \(wired) are wired, but \(real) are")
        }
    }

    private func compare(_ place: Place, _ model: GroupModel) throws {
        let snapshot = try bench.group(place).snapshot()
        func expect<Value: Equatable>(_ what: String, _ real: Value, _ wanted: Value) throws {
            if real != wanted { throw Difference("\(place): \(what) is \(real), not \(wanted)") }
        }
        try expect("phase", snapshot.phase, model.phase)
        try expect("routes", bench.routes(of: place), routes(model))
        if model.phase == .destroyed { return }
        try expect("masks", snapshot.vectors.map(\.isMasked), model.vectors.map(\.isMasked))
        try expect("wired", snapshot.vectors.filter(\.isWired).map(\.index), wired(model))
        let device = bench.device(of: place)
        if model.isLive { try expect("connected", device.wiredVectors, wired(model)) }
        let attached = bench.attached(of: place)
        try expect("irqfds", attached.keys.sorted(), attachedVectors(place, model))
        if place.type == .legacy { try compareLine(place, model, snapshot, attached[0] ?? []) }
        guard model.isLive else { return }
        let triggers = device.triggers
        for index in model.vectors.indices {
            guard let real = triggers[index] else { continue }
            let own: Set<Int> = bench.numbers[place]?[index].map { [$0] } ?? []
            let listening = bench.variant.hasSink ? attached[index] ?? [] : own
            // What listens is signalled if and only if the vector delivers.
            try expect("vector \(index) signals who listens", listening.contains(real), model.delivers(index))
        }
    }

    private func compareLine(
        _ place: Place, _ model: GroupModel, _ snapshot: InterruptSnapshot, _ attached: Set<Int>
    ) throws {
        let all = [Place.line, .otherLine].count { models[$0]?.vectors.first?.isAttached == true }
        if bench.variant.hasSink && attached.count != all { throw Difference("\(attached) are attached, not \(all)") }
        guard model.isLive else { return }
        let device = bench.device(of: place)
        if (device.unmaskNotifier != nil) != model.delivers(0) { throw Difference("\(place): unmask eventfd") }
        if model.delivers(0) { return }
        if !device.isLineMasked { throw Difference("\(place): not masked at the host") }
        if lines.maybeTriggered.contains(place) { return }
        let isPending = lines.triggered.contains(place) || lines.asserted.contains(place)
        if snapshot.vectors[0].isPending != isPending { throw Difference("\(place): pending is not \(isPending)") }
    }

    /// The vectors that have an irqfd; of a shared pin, those of both lines.
    private func attachedVectors(_ place: Place, _ model: GroupModel) -> [Int] {
        let sharing = place.type == .legacy && bench.variant.hasSink ? [Place.line, .otherLine] : [place]
        let models = sharing.compactMap { self.models[$0] }
        return model.vectors.indices.filter { index in models.contains { $0.vectors[index].isAttached } }
    }

    private func wired(_ model: GroupModel) -> [Int] { model.vectors.indices.filter { model.vectors[$0].isWired } }

    private func routes(_ model: GroupModel) -> [Int: InterruptMessage] {
        model.vectors.indices.reduce(into: [:]) { routes, index in
            if let route = model.vectors[index].route { routes[index] = route }
        }
    }
}

extension InterruptType {
    /// VFIO's number of it.
    var index: Int {
        switch self {
        case .legacy: 0
        case .msi: 1
        case .msix: 2
        }
    }
}
