import InterruptSources
import SystemPackage
import TestSupport

/// Makes steps from a seed. It never looks at what a run does, so that a list of steps means the same in every run.
struct StepGenerator {
    private var random: SplitMix64
    private let variant: Variant
    /// Which of the first device's groups is meant to be on: most steps go there.
    private var current = Place.table
    private var coming: [Operation] = []

    init(_ random: SplitMix64, _ variant: Variant) {
        self.random = random
        self.variant = variant
    }

    mutating func steps(_ count: Int) -> [Step] {
        (0..<count).map { _ in
            var step = Step(coming.isEmpty ? operation() : coming.removeFirst())
            if random.once(in: 3) { step.fault = fault() }
            if case .destroy = step.operation, !random.once(in: 10) { step.fault?.count = 1 }
            if random.once(in: 5) { step.intrusion = Intrusion(call: random.below(6), event: event()) }
            return step
        }
    }

    private mutating func operation() -> Operation {
        let place = random.once(in: 6) ? random.pick(Place.allCases) : current
        switch random.below(100) {
        case 0..<8: return enable(place)
        case 8..<10: return enlarging(place)
        case 10..<14: return .disable(place)
        case 14..<22: return switching()
        case 22..<30:
            return .update(
                place, index(), count: extent(), data: data(), masked: random.pick([nil, nil, true, false]))
        case 30..<41: return .mask(place, index(), count: extent(), releasing: random.once(in: 3))
        case 41..<56: return .unmask(place, index(), count: extent())
        case 56..<62: return .trigger(place, index())
        case 62..<64: return .handOut(place, index())
        case 64..<67:
            let isForeign = !random.once(in: 3)
            return .handIn(place, index(), count: extent(), foreign: isForeign, counted: random.once(in: 3))
        case 67..<68: return .handInResample(random.pick([.line, .otherLine, place]), foreign: random.once(in: 2))
        case 68..<71: return .signalOutside(place, index())
        case 71..<72: return renewal(place)
        case 72..<74: return .takeHostVectors(random.below(9) - 4)
        case 74..<75: return .allocatable(1 + random.below(max(variant.tableCount, variant.blockCount) + 1))
        case 75..<77: return .wrong(place, random.pick(Operation.Mistake.allCases))
        case 77..<82 where place.type == .legacy: return .end
        default: return event()
        }
    }

    /// What a device or the guest does by itself.
    private mutating func event() -> Operation {
        let isLine = current == .line ? !random.once(in: 4) : random.once(in: 6)
        if !isLine { return .raise(index()) }
        return random.once(in: 3)
            ? .end : .level(random.once(in: 3) ? .otherLine : .line, random.once(in: 2))
    }

    private mutating func enable(_ place: Place) -> Operation {
        .enable(place, data: random.once(in: 4) ? nil : data(), masked: masks(), size: size())
    }

    /// Of a block that may be small enough for it.
    private mutating func enlarging(_ place: Place) -> Operation {
        let enlarge = Operation.enlarge(
            random.once(in: 8) ? place : .block, data: data(), masked: masks(), size: 1 + random.below(5))
        if current == .block && random.once(in: 2) { return enlarge }
        current = .block
        coming = [random.once(in: 2) ? event() : .mask(.block, index(), count: extent()), enlarge]
        return .switchTo(.block, data: data(), masked: masks(), size: random.below(3))
    }

    /// From one type to another, by the device's owner or by hand.
    private mutating func switching() -> Operation {
        let before = current
        current = random.pick([.line, .block, .table, .table])
        if random.once(in: 3) {
            coming = [enable(current)]
            return .disable(before)
        }
        if random.once(in: 12) { return .switchTo(nil) }
        return .switchTo(current, data: random.once(in: 4) ? nil : data(), masked: masks(), size: size())
    }

    private mutating func masks() -> UInt64? {
        random.pick([nil, 0, 0, .max, random.next(), random.next() & random.next()])
    }

    private mutating func size() -> Int { random.once(in: 3) ? random.below(6) : 5 }

    private mutating func renewal(_ place: Place) -> Operation {
        let creation = Operation.create(place, count: random.pick([1, 2, 4, 8, 64]))
        coming = [enable(place)]
        if random.once(in: 3) { return creation }
        if !random.once(in: 3) { coming.insert(creation, at: 0) }
        return .destroy(place)
    }

    private mutating func fault() -> Fault {
        Fault(
            call: random.below(8), count: random.once(in: 4) ? 2 + random.below(6) : 1,
            errno: random.pick([.noMemory, .noMemory, .noSpace, .resourceBusy, .ioError, .invalidArgument]),
            vector: random.once(in: 2) ? random.below(8) : nil, raising: random.once(in: 3) ? random.below(8) : nil)
    }

    private mutating func index() -> Int {
        switch random.below(40) {
        case 0: -1
        case 1: Step.beyond
        default: random.below(max(variant.tableCount, 2))
        }
    }

    private mutating func extent() -> Int { random.pick([0, 1, 1, 1, 2, 3, 64]) }

    private mutating func data() -> UInt32 { 64 + UInt32(random.below(4)) * 64 }
}
