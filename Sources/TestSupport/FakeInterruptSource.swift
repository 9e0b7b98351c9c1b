public import InterruptSources
public import LinuxSystem
internal import SystemPackage

/// Which type of a fake device is on, for the sources of one device.
public final class FakeWorkingType: Sendable {
    fileprivate let active = Lock<InterruptType?>(nil)

    /// None is on.
    public init() {}
}

/// A device's interrupts of one type without a device: the test raises them.
public final class FakeInterruptSource: InterruptSource {
    /// The error of a call that was told to fail.
    public static let failure = InterruptError.kernel(KernelError("VFIO_DEVICE_SET_IRQS", .ioError))

    /// The type.
    public let type: InterruptType
    /// How many vectors.
    public let count: Int
    /// Whether vectors can be added.
    public let growsWhileEnabled: Bool
    private let calls: ScriptedCalls
    private let hostVectors: Int
    private let device: FakeWorkingType
    private let state = Lock(State())

    /// What stands at the host.
    public struct State: Sendable {
        /// How many vectors are provided for; nil while off.
        public var provided: Int?
        /// The notifiers by vector.
        public var wired: [Int: EventFD] = [:]
        /// What unmasks the line.
        public var unmask: EventFD?
        /// Whether the line is masked.
        public var isLineMasked = false
        /// Whether the device asserts the line.
        public var isLineAsserted = false
        /// Whether the guest's Command register disables INTx.
        public var isLineDisabled = false
        /// Vectors that the device raised while it could not send them.
        public var held: Set<Int> = []
    }

    /// A source that is off. Of `hostVectors` no more can be connected at a time. Sources with the same `device` are of
    /// one device.
    public init(
        _ type: InterruptType, count: Int, grows: Bool = true, hostVectors: Int = .max,
        calls: ScriptedCalls = .init(), device: FakeWorkingType = .init()
    ) {
        self.type = type
        self.count = count
        growsWhileEnabled = grows && type == .msix
        self.hostVectors = hostVectors
        self.calls = calls
        self.device = device
    }

    /// What stands at the host now.
    public var now: State { state.withLock { $0 } }

    /// The device raises a vector.
    public func raise(_ vector: Int) {
        state.withLock { state in
            if let notifier = state.wired[vector] {
                try? notifier.signal()
            } else if type == .msix && state.provided != nil {
                state.held.insert(vector)
            }
        }
    }

    /// The device asserts its line, or no longer.
    public func setLine(asserted: Bool) {
        state.withLock { state in
            state.isLineAsserted = asserted
            if state.provided != nil { state.fireLine() }
        }
    }

    /// The guest disables INTx in its Command register, or no longer, and VFIO masks and unmasks the line with it.
    public func setLine(disabled: Bool) {
        state.withLock { state in
            if state.isLineDisabled == disabled { return }
            state.isLineDisabled = disabled
            if disabled { state.isLineMasked = true } else { state.unmaskLine() }
        }
    }

    /// What a signal of the unmask notifier does.
    public func settle() {
        state.withLock { state in
            guard let unmask = state.unmask, unmask.drain() > 0 else { return }
            state.unmaskLine()
        }
    }

    /// Turns it on.
    public func enable(_ notifiers: [EventFD?]) throws(InterruptError) {
        try note("enable \(describe(notifiers))")
        try device.active.withLock { (active) throws(InterruptError) in
            if active != nil && active != type { throw .otherTypeActive }
            try enableAlone(notifiers)
            active = type
        }
    }

    private func enableAlone(_ notifiers: [EventFD?]) throws(InterruptError) {
        try state.withLock { (state) throws(InterruptError) in
            guard state.provided == nil else { throw .alreadyEnabled }
            state.provided = notifiers.count
            state.isLineMasked = state.isLineDisabled
            do throws(InterruptError) {
                try wire(0, notifiers, &state)
            } catch {
                state.provided = nil
                throw error
            }
        }
    }

    /// Connects a range, which a failure leaves disconnected.
    public func connect(first: Int, _ notifiers: [EventFD?]) throws(InterruptError) {
        do throws(InterruptError) {
            try note("connect \(first) \(describe(notifiers))")
        } catch {
            state.withLock { state in for index in first..<first + notifiers.count { state.wired[index] = nil } }
            throw error
        }
        try state.withLock { (state) throws(InterruptError) in
            guard let provided = state.provided else { throw .notEnabled }
            guard growsWhileEnabled || first + notifiers.count <= provided else {
                throw .noSuchVector(index: provided, count: provided)
            }
            try wire(first, notifiers, &state)
            state.provided = max(provided, first + notifiers.count)
        }
    }

    /// Turns it off.
    public func disable() throws(InterruptError) {
        try note("disable")
        device.active.withLock { if $0 == type { $0 = nil } }
        state.withLock { state in
            state.provided = nil
            state.wired = [:]
            state.unmask = nil
            state.held = []
        }
    }

    /// Signals what is connected.
    public func trigger(first: Int, count: Int) throws(InterruptError) {
        try note("loopback \(first)")
        state.withLock { state in
            if state.isLineDisabled && type == .legacy { return }
            for index in first..<first + count { try? state.wired[index]?.signal() }
        }
    }

    /// Sets what unmasks the line.
    public func setUnmaskNotifier(_ notifier: EventFD?) throws(InterruptError) {
        try note(notifier == nil ? "clear unmask" : "set unmask")
        guard notifier == nil || now.unmask == nil else {
            throw .kernel(KernelError("VFIO_DEVICE_SET_IRQS", .resourceBusy))
        }
        state.withLock { $0.unmask = notifier }
    }

    /// Masks or unmasks the line.
    public func setLineMasked(_ masked: Bool) throws(InterruptError) {
        try note(masked ? "MASK" : "UNMASK")
        state.withLock { state in
            if masked { state.isLineMasked = true } else { state.unmaskLine() }
        }
    }

    /// Whether the device asserts the line.
    public func isLineAsserted() throws(InterruptError) -> Bool {
        try note("read status")
        return state.withLock { $0.isLineAsserted && !$0.isLineDisabled }
    }

    private func wire(_ first: Int, _ notifiers: [EventFD?], _ state: inout State) throws(InterruptError) {
        for index in notifiers.indices { state.wired[first + index] = nil }
        let room = hostVectors - state.wired.count
        guard notifiers.count(where: { $0 != nil }) <= room else {
            let fitting = notifiers.indices.prefix { end in notifiers[...end].count { $0 != nil } <= room }
            throw .hostExhausted(asked: notifiers.count, available: fitting.count)
        }
        for (index, notifier) in notifiers.enumerated() {
            guard let notifier else { continue }
            state.wired[first + index] = notifier
            if state.held.remove(first + index) != nil { try? notifier.signal() }
        }
        if type == .legacy { state.fireLine() }
    }

    private func note(_ name: String) throws(InterruptError) {
        if calls.shouldFail(name) { throw FakeInterruptSource.failure }
    }

    private func describe(_ notifiers: [EventFD?]) -> String {
        notifiers.map { $0 == nil ? "-" : "x" }.joined()
    }
}

extension FakeInterruptSource.State {
    mutating func unmaskLine() {
        if isLineDisabled { return }
        isLineMasked = false
        fireLine()
    }

    /// The line's handler: masks and signals.
    mutating func fireLine() {
        guard isLineAsserted, !isLineMasked, let notifier = wired[0] else { return }
        isLineMasked = true
        try? notifier.signal()
    }
}
