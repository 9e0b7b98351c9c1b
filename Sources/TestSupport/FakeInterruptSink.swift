public import InterruptSources
public import LinuxSystem
internal import SystemPackage

/// A VM's interrupt controllers without a VM: counts what arrives on each number.
///
/// It takes what a notifier counts when it is asked, where KVM would at once; so a test reads ``deliveries`` after
/// each step.
public final class FakeInterruptSink: InterruptSink {
    /// The error of a call that was told to fail.
    public static let failure = InterruptError.kernel(KernelError("KVM_IRQFD", .ioError))

    fileprivate struct State {
        var next: Int
        let end: Int
        var routes: [Int: InterruptRoute] = [:]
        var attached: [Int: (notifier: EventFD, resample: EventFD?)] = [:]
        var deliveries: [Int: Int] = [:]
        var released: [Range<Int>] = []
    }

    private let calls: ScriptedCalls
    private let state: Lock<State>

    /// A VM with these numbers for messages.
    public init(numbers: Range<Int> = 24..<4096, calls: ScriptedCalls = .init()) {
        self.calls = calls
        state = Lock(State(next: numbers.lowerBound, end: numbers.upperBound))
    }

    /// The routes.
    public var routes: [Int: InterruptRoute] { state.withLock { $0.routes } }

    /// The numbers that a notifier is attached to.
    public var attached: Set<Int> { state.withLock { Set($0.attached.keys) } }

    /// The numbers that were given back.
    public var released: [Range<Int>] { state.withLock { $0.released } }

    /// How many interrupts arrived on each number since the last call of this.
    public func deliveries() -> [Int: Int] {
        state.withLock { state in
            state.settle()
            defer { state.deliveries = [:] }
            return state.deliveries
        }
    }

    /// The guest ends the interrupt of a number: what was attached with it is signalled.
    public func endOfInterrupt(_ number: Int) {
        state.withLock { try? $0.attached[number]?.resample?.signal() }
    }

    /// Takes numbers.
    public func reserve(_ count: Int) throws(InterruptError) -> Int {
        try state.withLock { (state) throws(InterruptError) in
            guard count <= state.end - state.next else {
                throw .numbersExhausted(asked: count, available: state.end - state.next)
            }
            defer { state.next += count }
            return state.next
        }
    }

    /// Gives them back.
    public func release(_ numbers: Range<Int>) {
        state.withLock { $0.released.append(numbers) }
    }

    /// Changes routes.
    public func commit(_ changes: [RouteChange]) throws(InterruptError) {
        try note("commit \(changes.map(\.number))")
        state.withLock { state in
            state.settle()
            for change in changes { state.routes[change.number] = change.route }
        }
    }

    /// Attaches a notifier. One that has counted delivers once.
    public func attach(_ notifier: EventFD, to number: Int, resample: EventFD?) throws(InterruptError) {
        try note("attach \(number)")
        try state.withLock { (state) throws(InterruptError) in
            guard !state.attached.values.contains(where: { $0.notifier === notifier }) else {
                throw .kernel(KernelError("KVM_IRQFD", .resourceBusy))
            }
            state.attached[number] = (notifier, resample)
            state.settle()
        }
    }

    /// Detaches it.
    public func detach(_ notifier: EventFD, from number: Int) throws(InterruptError) {
        try note("detach \(number)")
        state.withLock { state in
            state.settle()
            state.attached[number] = nil
        }
    }

    private func note(_ name: String) throws(InterruptError) {
        if calls.shouldFail(name) { throw FakeInterruptSink.failure }
    }
}

extension FakeInterruptSink.State {
    /// Delivers what the attached notifiers have counted, once each; without a route it is lost.
    fileprivate mutating func settle() {
        for (number, entry) in attached where entry.notifier.drain() > 0 {
            if routes[number] != nil { deliveries[number, default: 0] += 1 }
        }
    }
}
