import InterruptSources
import LinuxSystem
import SystemPackage
import TestSupport

/// One run: steps taken on the real stack and on the model, compared after each.
struct ModelRun {
    let bench: ModelBench
    var models: [Place: GroupModel] = [:]
    var lines = LineModel()
    /// Whether something was left that no group can give back.
    var isOver = false
    /// How many vectors other users of the host have taken.
    var taken = 0
    /// The vector that this step triggered.
    var triggered: Int?
    /// What this step's call was to make of its group, also if it was refused.
    var attempted: GroupModel?
    /// Vectors of a refused call whose new notifiers had counted: what of that was delivered before stays so.
    var offered: (place: Place, vectors: Range<Int>)?
    /// Message vectors that were raised in this step and that host, device or eventfd took.
    var raised: [Place: [Int: Int]] = [:]

    init(_ bench: ModelBench) throws {
        self.bench = bench
        for place in Place.allCases { try adopt(place) }
    }

    /// What a list of steps led to: nil if all was as it should be, otherwise the first difference.
    static func difference(
        _ variant: Variant, _ steps: [Step], wrap: (any InterruptSink) -> any InterruptSink = { $0 }
    ) -> Difference? {
        do {
            let left = try takeAll(variant, steps, wrap).openFileCount
            return left == 0 ? nil : Difference("\(left) files left open")
        } catch let difference as Difference {
            return difference
        } catch {
            return Difference("the bench failed: \(error)")
        }
    }

    private static func takeAll(
        _ variant: Variant, _ steps: [Step], _ wrap: (any InterruptSink) -> any InterruptSink
    ) throws -> FakeKernel {
        let bench = try ModelBench(variant, wrap: wrap)
        var run = try ModelRun(bench)
        for (number, step) in steps.enumerated() {
            do {
                try run.take(step)
                if run.isOver { return bench.kernel }
            } catch let difference as Difference {
                throw Difference("step \(number), \(step): \(difference)")
            }
        }
        try bench.destroyAll()
        return bench.kernel
    }

    /// Takes a step and compares.
    mutating func take(_ step: Step) throws {
        let before = self
        (raised, triggered, attempted, offered) = ([:], nil, nil, nil)
        bench.kernel.forgetCalls()
        let intruder = Intruder()
        if let intrusion = step.intrusion { prepare(intrusion, intruder) }
        if let fault = step.fault {
            bench.kernel.refuse(
                calls: fault.call..<fault.call + fault.count, with: fault.errno, atVector: fault.vector,
                event: fault.raising.map { Raiser(bench).event($0, intruder) })
        }
        let outcome = try perform(step.operation)
        let refused = bench.kernel.refusedCount
        bench.kernel.forgetCalls()
        for (place, vector) in intruder.raised { raised[place, default: [:]][vector, default: 0] += 1 }
        for (place, level) in intruder.levels { setLevel(place, level) }

        var isWeak = false
        switch outcome {
        case .nothing: break
        case .done: isWeak = refused > 1
        case .refused(let place, let expected, let error):
            isWeak = refused > (expected == nil ? 1 : 0)
            try judge(error, expected, step.fault, refused)
            models = before.models
            if try bench.adopt(place) { try adopt(place) }
        }
        let isDisturbed = refused > 0 || !intruder.raised.isEmpty || !intruder.levels.isEmpty
        try settle(before, step.operation, outcome, isDisturbed: isDisturbed, isWeak: isWeak)
        if isWeak, let place = outcome.place { try repair(place) }
        if !isOver { try compareStanding() }
    }

    /// After undo was refused too: disable gives back what is left, and what was enabled can be enabled again. What could
    /// not even be destroyed is left to the closing of device and VM, and ends the run.
    private mutating func repair(_ place: Place) throws {
        guard let model = models[place] else { return }
        isOver = model.phase == .destroyed
        if isOver { return }
        let places = place == .otherLine ? [place] : [.line, .block, .table]
        let live = places.first { models[$0]?.isLive == true }
        if let live { try compareWired(live) }
        for place in places { try perform(inRepair: .disable(place)) }
        let isLeftOn = bench.device(of: place).activeIndex != nil
        if live != nil || isLeftOn { try perform(inRepair: .enable(live ?? place, data: live == nil ? 64 : nil)) }
        if live == nil && isLeftOn { try perform(inRepair: .disable(place)) }
    }

    private mutating func perform(inRepair operation: Operation) throws {
        let before = self
        (raised, triggered, attempted, offered) = ([:], nil, nil, nil)
        let outcome = try perform(operation)
        bench.kernel.forgetCalls()
        if case .refused(let place, let expected, let error) = outcome {
            guard let expected, same(expected, error) else { throw Difference("repair is refused: \(error)") }
            models[place] = before.models[place]
        }
        try settle(before, operation, outcome, isDisturbed: true, isWeak: true)
    }

    /// Whether a call may be refused like that.
    private func judge(
        _ error: InterruptError, _ expected: InterruptError?, _ fault: Fault?, _ refused: Int
    ) throws {
        if let expected, same(error, expected) { return }
        // Of two things that are wrong, either may be said.
        if expected == .destroyed, case .noSuchVector = error { return }
        if refused == 0 { throw Difference("refused with \(error), not \(expected.map { "\($0)" } ?? "at all")") }
        switch error {
        case .kernel(let error) where error.errno == fault?.errno: return
        case .hostExhausted where fault?.errno == .noSpace: return
        case .hostExhausted where expected.map(isExhaustion) == true: return
        default: throw Difference("refused with \(error) where the kernel said \(fault?.errno.name ?? "nothing")")
        }
    }

    private func same(_ error: InterruptError, _ other: InterruptError) -> Bool {
        if case .kernel(let error) = error, case .kernel(let other) = other { return error.errno == other.errno }
        return error == other
    }

    private func isExhaustion(_ error: InterruptError) -> Bool {
        if case .hostExhausted = error { return true }
        return false
    }

    /// Events that come in between.
    private func prepare(_ intrusion: Intrusion, _ intruder: Intruder) {
        switch intrusion.event {
        case .raise(let index):
            let raiser = Raiser(bench)
            bench.kernel.beforeCall(intrusion.call) {
                if let taken = raiser.raise(index) { intruder.raised.append(taken) }
            }
        case .level(let place, let asserted):
            let device = bench.device(of: place)
            bench.kernel.beforeCall(intrusion.call) {
                device.setLine(asserted: asserted)
                intruder.levels.append((place, asserted))
            }
        default: return
        }
    }

    /// The group of the first device that is on.
    var liveOnFirst: Place? { [.line, .block, .table].first { models[$0]?.isLive == true } }

    mutating func setLevel(_ place: Place, _ asserted: Bool) {
        if asserted { lines.asserted.insert(place) } else { lines.asserted.remove(place) }
    }
}

/// What came in between. Steps are taken by one thread, and so are the kernel calls that it comes between.
final class Intruder: Sendable {
    private let state = Lock((raised: [(Place, Int)](), levels: [(Place, Bool)]()))
    var raised: [(Place, Int)] {
        get { state.withLock { $0.raised } }
        set { state.withLock { $0.raised = newValue } }
    }
    var levels: [(Place, Bool)] {
        get { state.withLock { $0.levels } }
        set { state.withLock { $0.levels = newValue } }
    }
}

/// Lets the first device send messages of whatever type is on.
struct Raiser: Sendable {
    private let device: FakeVFIODevice
    private let counts: [Place: Int]

    init(_ bench: ModelBench) {
        device = bench.device(of: .table)
        counts = bench.groups.mapValues(\.count)
    }

    /// The message of a vector, for the fake to send when it chooses.
    func event(_ index: Int, _ intruder: Intruder) -> FakeKernel.Event {
        let count = counts
        let vector = index % max(count[.block] ?? 1, count[.table] ?? 1)
        return FakeKernel.Event(vector) { type in
            guard let place = [1: Place.block, 2: .table][type], vector < count[place] ?? 0 else { return }
            intruder.raised.append((place, vector))
        }
    }

    /// Returns what was raised, if the host or the device has it now.
    func raise(_ index: Int) -> (Place, Int)? {
        guard let type = device.activeIndex, let place = [1: Place.block, 2: .table][type], let count = counts[place]
        else { return nil }
        let vector = index < 0 ? 0 : index % count
        return device.raise(vector) ? (place, vector) : nil
    }
}
