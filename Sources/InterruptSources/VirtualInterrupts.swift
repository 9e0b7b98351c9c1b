public import LinuxSystem

/// The interrupts of a virtual device: one that software models, without a device of the host behind it.
///
/// What a VFIO device's interrupts are to a real one: a source for each type, of which one at a time can be on. The
/// model raises messages with ``raise(_:)`` and drives its INTx line with ``setLine(asserted:)``; what its guest has
/// masked is the group's business.
///
/// Messages need nobody's attention. A level does: the guest's EOI signals ``unmaskNotifier``, and whoever waits for
/// that calls ``endOfInterrupt()``, as the kernel does for a real device.
public final class VirtualInterrupts: Sendable {
    struct State {
        /// The type that is on.
        var active: InterruptType?
        /// How many vectors ``InterruptSource/enable(_:)`` provided for.
        var provided = 0
        var connected: [Int: EventFD] = [:]
        /// MSI-X: what was raised on a vector that is not connected (Pending Bit Array).
        var pendingBits: Set<Int> = []
        var unmask: EventFD?
        var isLineMasked = false
        var isLineAsserted = false
    }

    let state = Lock(State())
    private let counts: [InterruptType: Int]

    /// A device with that many vectors of each type, none of those not named. Throws
    /// ``InterruptError/invalidCount(_:_:)`` for a count that PCI does not allow.
    public init(_ counts: [InterruptType: Int]) throws(InterruptError) {
        for (type, count) in counts where !type.allows(count) { throw .invalidCount(type, count) }
        self.counts = counts
    }

    /// The source of one type; nil if the device has none of it.
    public func source(_ type: InterruptType) -> VirtualInterruptSource? {
        counts[type].map { VirtualInterruptSource(self, type: type, count: $0) }
    }

    /// Raises one vector of the message type that is on; nothing if none is, as in a device. MSI-X remembers it where
    /// nothing is connected.
    public func raise(_ vector: Int) {
        state.withLock { state in
            guard let active = state.active, active != .legacy, vector >= 0, vector < counts[active] ?? 0 else {
                return
            }
            if let notifier = state.connected[vector] {
                state.signal(notifier)
            } else if active == .msix {
                state.pendingBits.insert(vector)
            }
        }
    }

    /// Asserts the INTx line, or no longer.
    public func setLine(asserted: Bool) {
        state.withLock { state in
            state.isLineAsserted = asserted
            state.fireLine()
        }
    }

    /// What the guest's EOI signals while the line is on and not masked; nil otherwise.
    public var unmaskNotifier: EventFD? { state.withLock { $0.unmask } }

    /// To be called when ``unmaskNotifier`` is signalled: takes that, and signals again if the line is still asserted.
    public func endOfInterrupt() {
        state.withLock { state in
            guard let unmask = state.unmask, unmask.drain() > 0 else { return }
            state.isLineMasked = false
            state.fireLine()
        }
    }
}

extension VirtualInterrupts.State {
    /// Signals once for a level: the next time after an unmask, like VFIO's handler.
    mutating func fireLine() {
        guard active == .legacy, isLineAsserted, !isLineMasked, let notifier = connected[0] else { return }
        isLineMasked = true
        signal(notifier)
    }

    /// A device has nobody to tell that its interrupt came to nothing: an eventfd takes any number of signals.
    func signal(_ notifier: EventFD) {
        try? notifier.signal()
    }
}
