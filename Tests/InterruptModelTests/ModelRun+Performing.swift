import InterruptSources
import LinuxSystem
import TestSupport

/// What became of a step.
enum Outcome {
    /// No group was called.
    case nothing
    case done(Place)
    /// Refused, and what the model expected to be refused with, if at all.
    case refused(Place, expected: InterruptError?, InterruptError)

    var place: Place? {
        switch self {
        case .nothing: nil
        case .done(let place), .refused(let place, _, _): place
        }
    }
}

// Steps on the real stack, and on the model.
extension ModelRun {
    mutating func perform(_ operation: Operation) throws -> Outcome {
        switch operation {
        case .raise(let index):
            if let (place, vector) = Raiser(bench).raise(index) { raised[place] = [vector: 1] }
        case .level(let place, let asserted):
            setLevel(place, asserted)
            bench.device(of: place).setLine(asserted: asserted)
        case .end: try bench.end(lines.inService)
        case .takeHostVectors(let given):
            let count = min(given, bench.vfio.hostVectors)
            taken += count
            bench.vfio.addHostVectors(-count)
        case .allocatable(let count):
            // What the device has already is not taken from it.
            let live = liveOnFirst.flatMap { models[$0] }
            let least = live.map { $0.type == .msi ? $0.active : $0.provided }
            bench.device(of: .table).setAllocatable(max(count, least ?? 0))
        case .signalOutside(let place, let index):
            guard bench.variant.hasSink, let model = models[place] else { break }
            let vector = wrap(index, model.vectors.count)
            guard let notifier = bench.notifiers[place]?[vector] else { break }
            try notifier.signal()
            if model.phase != .destroyed { raised[place] = [vector: 1] }
        case .create(let place, let count): return try create(place, count)
        case .switchTo(let place, _, _, _): return try switchTo(place, operation)
        default: return try call(operation)
        }
        return .nothing
    }

    // MARK: The device's owner

    private mutating func create(_ place: Place, _ given: Int) throws -> Outcome {
        guard let model = models[place] else { return .nothing }
        let count = min(max(given, 1), bench.capacity(of: place))
        let isSame = model.phase != .destroyed && model.vectors.count == count
        let expected: InterruptError? = model.isLive && !isSame ? .alreadyEnabled : nil
        do {
            try bench.create(place, count: count)
        } catch let error as InterruptError {
            return .refused(place, expected: expected, error)
        }
        if expected != nil { throw Difference("a live group was replaced") }
        if !isSame { try adopt(place) }
        return .done(place)
    }

    private mutating func switchTo(_ place: Place?, _ operation: Operation) throws -> Outcome {
        let (bench, old) = (bench, liveOnFirst)
        guard let place else {
            guard let old else { return .nothing }
            return try call(.disable(old)) { try bench.owner(of: old).switchTo(nil) }
        }
        if models[place]?.phase == .destroyed {
            models[place] = model(place, count: bench.capacity(of: place), isHandedOut: false)
        }
        guard case (_, .enable(let given))? = call(of: operation) else { return .nothing }
        let outcome = try call(operation) { try bench.owner(of: place).switchTo(place.type, given) }
        // A group that was made for the switch is there from now on, or gone again.
        if try bench.adopt(place), !bench.variant.hasSink {
            for index in models[place]?.vectors.indices ?? 0..<0 { models[place]?.vectors[index].isHandedOut = true }
        }
        guard case .done = outcome, place != .otherLine, let old, old != place else { return outcome }
        let room = room(old)
        try models[old]?.make(.disable, room)
        return outcome
    }

    // MARK: Groups

    private mutating func call(_ operation: Operation, _ real: (() throws -> Void)? = nil) throws -> Outcome {
        guard let (place, call) = call(of: operation), let model = models[place] else { return .nothing }
        var next = model
        var expected: InterruptError?
        do throws(InterruptError) { try next.make(call, room(place, isSwitch: real != nil)) } catch { expected = error }
        attempted = next
        do {
            if let real { try real() } else { try self.real(call, place, operation) }
        } catch let error as InterruptError {
            if case .handIn(_, _, _, _, true) = operation, case .handIn(let range, true) = call {
                offered = (place, range)
            }
            return .refused(place, expected: expected, error)
        }
        if let expected { throw Difference("not refused with \(expected)") }
        models[place] = next
        if case .trigger(let index) = call, place.type != .legacy { (triggered, raised[place]) = (index, [index: 1]) }
        if case .handIn(_, _, _, _, true) = operation, case .handIn(let range, true) = call, place.type != .legacy {
            raised[place] = Dictionary(uniqueKeysWithValues: range.map { ($0, 1) })
        }
        return .done(place)
    }

    private func real(_ call: GroupModel.Call, _ place: Place, _ operation: Operation) throws {
        let group = try bench.group(place)
        switch call {
        case .enable(let configurations): try group.enable(configurations)
        case .enlarge(let configurations): try group.enlarge(configurations)
        case .disable: try group.disable()
        case .update(let first, let given):
            if given.count == 1 { try group.update(first, given[0]) } else { try group.update(first: first, given) }
        case .mask(let range, let releasing):
            if range.count == 1 && !releasing {
                try group.mask(range.lowerBound)
            } else {
                try group.mask(range, releasing: releasing)
            }
        case .unmask(let range):
            if range.count == 1 { try group.unmask(range.lowerBound) } else { try group.unmask(range) }
        case .trigger(let index): try group.trigger(index)
        case .handOut(let index): try bench.handOut(place, index)
        case .handIn(let range, let isForeign):
            guard case .handIn(_, _, _, _, let counted) = operation else { return }
            try bench.handIn(place, range, isForeign: isForeign, counted: counted)
        case .handInResample:
            guard case .handInResample(_, let isForeign) = operation else { return }
            try group.setResampleNotifier(isForeign ? try EventFD() : nil)
        case .destroy: try bench.destroy(place)
        }
    }

    func room(_ place: Place, isSwitch: Bool = false) -> GroupModel.Room {
        let others: [Place] = place == .otherLine ? [] : [.line, .block, .table].filter { $0 != place }
        let live = others.first { models[$0]?.isLive == true }
        // What is still on although nothing is enabled, and what another type has in a switch, goes before.
        let isFreed = liveOnFirst == nil || isSwitch && live != nil
        let freed = isFreed && place.type != .legacy ? bench.device(of: place).messageTriggers : 0
        return GroupModel.Room(
            vectors: max(0, bench.vfio.hostVectors) + freed, allocatable: bench.device(of: place).allocatable,
            isTaken: !isSwitch && live != nil, checksAddresses: bench.variant.hasWideAPICIDs)
    }

    func model(_ place: Place, count: Int, isHandedOut: Bool) -> GroupModel {
        var model = GroupModel(
            place, count: count, hasSink: bench.variant.hasSink, grows: bench.variant.isLinux6dot5)
        for index in model.vectors.indices { model.vectors[index].isHandedOut = isHandedOut }
        return model
    }

    /// The model of the group that the bench has now.
    mutating func adopt(_ place: Place) throws {
        models[place] = model(place, count: try bench.group(place).count, isHandedOut: !bench.variant.hasSink)
    }
}

extension FakeVFIODevice {
    /// How many host vectors it has.
    fileprivate var messageTriggers: Int { activeIndex == 0 ? 0 : triggers.count }
}
