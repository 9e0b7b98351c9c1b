public import InterruptSources
public import LinuxSystem
internal import Synchronization
internal import SystemPackage
internal import VFIO

/// One interrupt index of a VFIO device as an interrupt source.
public final class VFIOInterruptSource: InterruptSource {
    /// The type.
    public let type: InterruptType
    /// How many vectors VFIO says the device has.
    public let count: Int
    /// Whether VFIO_IRQ_INFO_NORESIZE is clear: MSI-X on kernels from 6.5 on.
    public let growsWhileEnabled: Bool
    private let interrupts: VFIOInterrupts
    private let index: VFIOIRQIndex

    init(_ interrupts: VFIOInterrupts, type: InterruptType, index: VFIOIRQIndex, count: Int, growsWhileEnabled: Bool) {
        self.interrupts = interrupts
        self.type = type
        self.index = index
        self.count = count
        self.growsWhileEnabled = growsWhileEnabled
    }

    private var device: VFIODevice { interrupts.device }

    /// Turns the index on.
    public func enable(_ notifiers: [EventFD?]) throws(InterruptError) {
        try check(first: 0, count: notifiers.count)
        guard !notifiers.isEmpty else { throw .invalidCount(type, 0) }
        try interrupts.state.withLock { (state) throws(InterruptError) in
            if let active = state.active { throw active == index ? .alreadyEnabled : .otherTypeActive }
            if let index = state.leftOn {
                try kernel { () throws(KernelError) in try device.disableTriggers(index) }
                state.leftOn = nil
            }
            do throws(InterruptError) {
                try setTriggers(first: 0, notifiers)
            } catch {
                guard isOutOfVectors(error) else { throw error }
                throw .hostExhausted(asked: notifiers.count, available: roomToEnable(notifiers, &state))
            }
            state.active = index
        }
    }

    /// Connects vectors while the index is on.
    public func connect(first: Int, _ notifiers: [EventFD?]) throws(InterruptError) {
        try check(first: first, count: notifiers.count)
        if notifiers.isEmpty { return }
        try interrupts.state.withLock { (state) throws(InterruptError) in
            guard state.active == index else { throw .notEnabled }
            do throws(InterruptError) {
                try setTriggers(first: first, notifiers)
            } catch {
                guard isOutOfVectors(error) else { throw error }
                throw .hostExhausted(asked: notifiers.count, available: room(first: first, notifiers))
            }
        }
    }

    /// Turns the index off.
    public func disable() throws(InterruptError) {
        try interrupts.state.withLock { (state) throws(InterruptError) in
            guard state.active == index else { return }
            try kernel { () throws(KernelError) in try device.disableTriggers(index) }
            state.active = nil
        }
    }

    /// VFIO's loopback.
    public func trigger(first: Int, count: Int) throws(InterruptError) {
        try check(first: first, count: count)
        if count == 0 { return }
        try whileOn { () throws(KernelError) in try device.trigger(index, first: first, count: count) }
    }

    /// The eventfd that unmasks INTx.
    public func setUnmaskNotifier(_ notifier: EventFD?) throws(InterruptError) {
        guard type == .legacy else { throw .notLevelTriggered }
        try whileOn { () throws(KernelError) in try device.setUnmaskEventFD(notifier) }
    }

    /// Masks or unmasks INTx.
    public func setLineMasked(_ masked: Bool) throws(InterruptError) {
        guard type == .legacy else { throw .notLevelTriggered }
        try whileOn { () throws(KernelError) in try device.setLineMasked(masked) }
    }

    /// Interrupt Status in configuration space.
    public func isLineAsserted() throws(InterruptError) -> Bool {
        guard type == .legacy else { throw .notLevelTriggered }
        do { return try device.isInterruptAsserted() } catch { throw .kernel(error) }
    }

    /// How many elements could have been provided for, after ENOSPC: the kernel runs out when it wires a vector and
    /// does not say at which.
    private func roomToEnable(_ notifiers: [EventFD?], _ state: inout VFIOInterrupts.State) -> Int {
        let none = [EventFD?](repeating: nil, count: notifiers.count)
        guard (try? setTriggers(first: 0, none)) != nil else { return 0 }
        defer { if (try? device.disableTriggers(index)) == nil { state.leftOn = index } }
        return room(first: 0, notifiers)
    }

    /// As above, with the index on. Leaves the range disconnected.
    private func room(first: Int, _ notifiers: [EventFD?]) -> Int {
        var room = 0
        for notifier in notifiers {
            guard (try? setTriggers(first: first + room, [notifier])) != nil else { break }
            room += 1
        }
        if room > 0 { try? setTriggers(first: first, [EventFD?](repeating: nil, count: room)) }
        return room
    }

    private func setTriggers(first: Int, _ notifiers: [EventFD?]) throws(InterruptError) {
        let result: VFIOSetIRQsResult
        do {
            result = try device.setTriggers(index, first: first, notifiers)
        } catch {
            throw .kernel(error)
        }
        if case .available(let count) = result {
            throw .hostExhausted(asked: notifiers.count, available: max(0, count - first))
        }
    }

    private func isOutOfVectors(_ error: InterruptError) -> Bool {
        guard case .kernel(let refused) = error else { return false }
        return refused.errno == .noSpace
    }

    private func whileOn(_ body: () throws(KernelError) -> Void) throws(InterruptError) {
        try interrupts.state.withLock { (state) throws(InterruptError) in
            guard state.active == index else { throw .notEnabled }
            try kernel(body)
        }
    }

    private func kernel(_ body: () throws(KernelError) -> Void) throws(InterruptError) {
        do { try body() } catch { throw .kernel(error) }
    }

    private func check(first: Int, count: Int) throws(InterruptError) {
        guard first >= 0, first < self.count else { throw .noSuchVector(index: first, count: self.count) }
        guard count >= 0, count <= self.count - first else {
            throw .noSuchVector(index: self.count, count: self.count)
        }
    }
}
