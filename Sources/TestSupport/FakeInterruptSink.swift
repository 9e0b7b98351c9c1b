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
        let numbers: Range<Int>
        var reserved: Set<Int> = []
        var routes: [Int: InterruptRoute] = [:]
        /// By number; a number can have several.
        var attached: [Int: [(notifier: EventFD, resample: EventFD?)]] = [:]
        var attachedNotifiers: Set<ObjectIdentifier> = []
        var deliveries: [Int: Int] = [:]
        var released: [Range<Int>] = []
    }

    private let calls: ScriptedCalls
    private let state: Lock<State>

    /// A VM with these numbers for messages.
    public init(numbers: Range<Int> = 24..<4096, calls: ScriptedCalls = .init()) {
        self.calls = calls
        state = Lock(State(numbers: numbers))
    }

    /// The routes.
    public var routes: [Int: InterruptRoute] { state.withLock { $0.routes } }

    /// The numbers that a notifier is attached to.
    public var attached: Set<Int> { state.withLock { Set($0.attached.keys) } }

    /// What is attached to each number, by descriptor.
    public var attachments: [Int: Set<CInt>] {
        state.withLock { $0.attached.mapValues { Set($0.map(\.notifier.rawValue)) } }
    }

    /// How many numbers are reserved.
    public var reservedCount: Int { state.withLock { $0.reserved.count } }

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

    /// The guest ends the interrupt of a number: what was attached with it is signalled, of every notifier that is.
    public func endOfInterrupt(_ number: Int) {
        state.withLock { for entry in $0.attached[number] ?? [] { try? entry.resample?.signal() } }
    }

    /// Takes the lowest numbers that are free.
    public func reserve(_ count: Int) throws(InterruptError) -> Int {
        try state.withLock { (state) throws(InterruptError) in
            var first = state.numbers.lowerBound
            var largest = 0
            for number in state.numbers {
                if state.reserved.contains(number) {
                    first = number + 1
                } else if number - first + 1 == count {
                    state.reserved.formUnion(first...number)
                    return first
                } else {
                    largest = max(largest, number - first + 1)
                }
            }
            throw .numbersExhausted(asked: count, available: largest)
        }
    }

    /// Gives them back. One that still has a route stays reserved.
    public func release(_ numbers: Range<Int>) {
        state.withLock { state in
            state.released.append(numbers)
            for number in numbers where state.routes[number] == nil { state.reserved.remove(number) }
        }
    }

    /// Changes routes.
    public func commit(_ changes: [RouteChange]) throws(InterruptError) {
        try note("commit \(changes.map(\.number))")
        try state.withLock { (state) throws(InterruptError) in
            state.settle()
            for change in changes where change.route != nil && change.route != .pin {
                guard state.reserved.contains(change.number) else { throw .numberNotReserved(change.number) }
            }
            for change in changes { state.routes[change.number] = change.route }
        }
    }

    /// Attaches a notifier. One that has counted delivers once.
    public func attach(_ notifier: EventFD, to number: Int, resample: EventFD?) throws(InterruptError) {
        try note("attach \(number)")
        try state.withLock { (state) throws(InterruptError) in
            guard state.attachedNotifiers.insert(ObjectIdentifier(notifier)).inserted else {
                throw .kernel(KernelError("KVM_IRQFD", .resourceBusy))
            }
            state.attached[number, default: []].append((notifier, resample))
            state.take(notifier, number)
        }
    }

    /// Detaches it.
    public func detach(_ notifier: EventFD, from number: Int) throws(InterruptError) {
        try note("detach \(number)")
        state.withLock { state in
            guard let index = state.attached[number]?.firstIndex(where: { $0.notifier === notifier }) else { return }
            state.take(notifier, number)
            state.attachedNotifiers.remove(ObjectIdentifier(notifier))
            state.attached[number]?.remove(at: index)
            if state.attached[number]?.isEmpty == true { state.attached[number] = nil }
        }
    }

    private func note(_ name: String) throws(InterruptError) {
        if calls.shouldFail(name) { throw FakeInterruptSink.failure }
    }
}

extension FakeInterruptSink.State {
    /// Delivers what the attached notifiers have counted, once each.
    fileprivate mutating func settle() {
        for (number, entries) in attached { for entry in entries { take(entry.notifier, number) } }
    }

    /// Delivers what one has counted; without a route it is lost.
    fileprivate mutating func take(_ notifier: EventFD, _ number: Int) {
        if notifier.drain() > 0 && routes[number] != nil { deliveries[number, default: 0] += 1 }
    }
}
