public import LinuxSystem

/// One interrupt type of a virtual device.
public final class VirtualInterruptSource: InterruptSource {
    /// The type.
    public let type: InterruptType
    /// How many vectors the device has of it.
    public let count: Int
    private let interrupts: VirtualInterrupts

    init(_ interrupts: VirtualInterrupts, type: InterruptType, count: Int) {
        self.interrupts = interrupts
        self.type = type
        self.count = count
    }

    /// MSI-X: true. An MSI block is what it was enabled as.
    public var growsWhileEnabled: Bool { type == .msix }

    /// Turns the type on.
    public func enable(_ notifiers: [EventFD?]) throws(InterruptError) {
        guard !notifiers.isEmpty, notifiers.count <= count else { throw .invalidCount(type, notifiers.count) }
        try interrupts.state.withLock { (state) throws(InterruptError) in
            if let active = state.active { throw active == type ? .alreadyEnabled : .otherTypeActive }
            state.active = type
            state.provided = notifiers.count
            state.isLineMasked = false
            state.connect(first: 0, notifiers)
        }
    }

    /// Connects vectors while the type is on.
    public func connect(first: Int, _ notifiers: [EventFD?]) throws(InterruptError) {
        try whileOn { (state) throws(InterruptError) in
            let limit = growsWhileEnabled ? count : state.provided
            guard first >= 0, first <= limit else { throw .noSuchVector(index: first, count: limit) }
            guard notifiers.count <= limit - first else { throw .noSuchVector(index: limit, count: limit) }
            state.connect(first: first, notifiers)
        }
    }

    /// Turns the type off.
    public func disable() throws(InterruptError) {
        interrupts.state.withLock { state in
            if state.active != type { return }
            state.active = nil
            state.connected = [:]
            state.pendingBits = []
            state.unmask = nil
        }
    }

    /// Signals what is connected. Whoever else has such an eventfd could make its writer wait, so it must be trusted
    /// not to.
    public func trigger(first: Int, count: Int) throws(InterruptError) {
        try whileOn { (state) throws(InterruptError) in
            guard first >= 0, first < self.count else { throw .noSuchVector(index: first, count: self.count) }
            guard count >= 0, count <= self.count - first else {
                throw .noSuchVector(index: self.count, count: self.count)
            }
            for index in first..<first + count {
                if let notifier = state.connected[index] { state.signal(notifier) }
            }
        }
    }

    /// The eventfd that unmasks the line: see ``VirtualInterrupts/endOfInterrupt()``.
    public func setUnmaskNotifier(_ notifier: EventFD?) throws(InterruptError) {
        guard type == .legacy else { throw .notLevelTriggered }
        try whileOn { (state) throws(InterruptError) in state.unmask = notifier }
    }

    /// Masks or unmasks the line. Unmasked while it is asserted, it signals again.
    public func setLineMasked(_ masked: Bool) throws(InterruptError) {
        guard type == .legacy else { throw .notLevelTriggered }
        try whileOn { (state) throws(InterruptError) in
            state.isLineMasked = masked
            state.fireLine()
        }
    }

    /// Whether the model asserts the line.
    public func isLineAsserted() throws(InterruptError) -> Bool {
        guard type == .legacy else { throw .notLevelTriggered }
        return interrupts.state.withLock { $0.isLineAsserted }
    }

    private func whileOn(
        _ body: (inout VirtualInterrupts.State) throws(InterruptError) -> Void
    ) throws(InterruptError) {
        try interrupts.state.withLock { (state) throws(InterruptError) in
            guard state.active == type else { throw .notEnabled }
            try body(&state)
        }
    }
}

extension VirtualInterrupts.State {
    fileprivate mutating func connect(first: Int, _ notifiers: [EventFD?]) {
        for (index, notifier) in zip(first..., notifiers) {
            connected[index] = notifier
            if let notifier, pendingBits.remove(index) != nil { signal(notifier) }
        }
        fireLine()
    }
}
