import InterruptSources
import SystemPackage

/// Makes a list of steps that shows a difference as short and as plain as it gets: pieces are left out, large ones
/// first (Zeller and Hildebrandt's delta debugging), then single steps, then what decorates steps, then numbers.
struct Shrinker {
    var variant: Variant
    var steps: [Step]
    private(set) var difference: Difference
    private var attemptsLeft: Int
    private let run: (Variant, [Step]) -> Difference?

    /// Nil if these steps show no difference. `run` is tried at most `attempts` times.
    init?(_ variant: Variant, _ steps: [Step], attempts: Int = 3000, run: @escaping (Variant, [Step]) -> Difference?) {
        guard let difference = run(variant, steps) else { return nil }
        (self.variant, self.steps, self.difference) = (variant, steps, difference)
        (attemptsLeft, self.run) = (attempts, run)
    }

    mutating func shrink() {
        var last: (Variant, [Step])
        repeat {
            last = (variant, steps)
            dropPieces()
            simplifySteps()
            simplifyVariant()
        } while (variant, steps) != last && attemptsLeft > 0
    }

    /// As a test would take them.
    var literal: String {
        "ModelRun.difference(\n    \(variant),\n    [\n" + steps.map { "        \($0),\n" }.joined() + "    ])"
    }

    private mutating func dropPieces() {
        var size = max(steps.count / 2, 1)
        while true {
            var first = 0
            while first < steps.count {
                var fewer = steps
                fewer.removeSubrange(first..<min(first + size, steps.count))
                if !keep(variant, fewer) { first += size }
            }
            if size == 1 { return }
            size /= 2
        }
    }

    private mutating func simplifySteps() {
        for index in steps.indices {
            // What is kept is made plainer again.
            while keepSimpler(index) {}
        }
    }

    private mutating func keepSimpler(_ index: Int) -> Bool {
        for simpler in steps[index].simpler where simpler != steps[index] {
            var changed = steps
            changed[index] = simpler
            if keep(variant, changed) { return true }
        }
        return false
    }

    private mutating func simplifyVariant() {
        for change: (inout Variant) -> Void in [
            { $0.hasSink = true }, { $0.isLinux6dot5 = true }, { $0.hostVectors = 1000 }, { $0.allocatable = 2048 },
            { $0.noticesLineWhenEnabled = true }, { $0.hasWideAPICIDs = false }, { $0.blockCount = 1 },
            { $0.blockCount /= 2 }, { $0.tableCount = 1 }, { $0.tableCount /= 2 }, { $0.tableCount -= 1 },
        ] {
            var simpler = variant
            change(&simpler)
            if simpler != variant && simpler.blockCount > 0 && simpler.tableCount > 0 { _ = keep(simpler, steps) }
        }
    }

    /// Takes this instead if it shows a difference too.
    private mutating func keep(_ variant: Variant, _ steps: [Step]) -> Bool {
        guard attemptsLeft > 0 else { return false }
        attemptsLeft -= 1
        guard let difference = run(variant, steps) else { return false }
        (self.variant, self.steps, self.difference) = (variant, steps, difference)
        return true
    }
}

extension Step {
    /// What is plainer than this, one change each.
    fileprivate var simpler: [Step] {
        var results: [Step] = []
        if fault != nil { results.append(Step(operation, during: intrusion)) }
        if intrusion != nil { results.append(Step(operation, fault: fault)) }
        if var fault {
            fault.count = 1
            results.append(Step(operation, fault: fault, during: intrusion))
            fault.raising = nil
            results.append(Step(operation, fault: fault, during: intrusion))
            fault.vector = nil
            results.append(Step(operation, fault: fault, during: intrusion))
            fault.errno = .noMemory
            results.append(Step(operation, fault: fault, during: intrusion))
        }
        results += operation.simpler.map { Step($0, fault: fault, during: intrusion) }
        return results
    }
}

extension Operation {
    fileprivate var simpler: [Operation] {
        switch self {
        case .enable(let place, _, let masked, let size):
            return [
                .enable(place, data: 64), .enable(place, data: 64, masked: masked, size: 5),
                .enable(place, data: 64, masked: masked.map { $0 & 0xf }, size: size),
            ]
        case .enlarge(let place, _, let masked, let size):
            return [
                .enlarge(place, data: 64), .enlarge(place, data: 64, masked: masked, size: 5),
                .enlarge(place, data: 64, masked: masked.map { $0 & 0xf }, size: size),
            ]
        case .switchTo(let place, _, let masked, let size):
            return [
                .switchTo(nil), .switchTo(place, data: 64), .switchTo(place, data: 64, masked: masked),
                .switchTo(place, data: 64, masked: masked.map { $0 & 0xf }, size: size),
            ]
        case .update(let place, let index, let count, let data, _):
            return [.update(place, index, count: count, data: data), .update(place, 0, data: data)]
        case .mask(let place, let index, let count, let releasing):
            return [
                .mask(place, index), .mask(place, 0, count: count, releasing: releasing),
                .mask(place, index, releasing: releasing), .mask(place, index, count: count),
            ]
        case .unmask(let place, let index, let count):
            return [.unmask(place, index), .unmask(place, 0, count: count)]
        case .trigger(let place, _): return [.trigger(place, 0)]
        case .raise(let index): return index == 0 ? [] : [.raise(0), .raise(index - 1)]
        case .handOut(let place, _): return [.handOut(place, 0)]
        case .handIn(let place, let index, let count, let foreign, _):
            return [
                .handIn(place, index, count: count, foreign: foreign), .handIn(place, 0, foreign: foreign),
                .handIn(place, index, foreign: foreign),
            ]
        case .signalOutside(let place, _): return [.signalOutside(place, 0)]
        default: return []
        }
    }
}
