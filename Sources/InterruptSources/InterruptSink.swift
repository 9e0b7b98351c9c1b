public import LinuxSystem

/// Where a notifier's events are to go inside a VM.
public enum InterruptRoute: Hashable, Sendable {
    /// A message to the VM's local APICs.
    case message(InterruptMessage)
    /// A pin of the VM's IOAPIC, which is the number itself.
    case pin
}

/// What one number's route is to become.
public struct RouteChange: Hashable, Sendable {
    /// The Global System Interrupt of the VM.
    public var number: Int
    /// Where its events go; nil for nowhere.
    public var route: InterruptRoute?

    /// Creates a change.
    public init(_ number: Int, _ route: InterruptRoute?) {
        self.number = number
        self.route = route
    }
}

/// Where interrupts go: the in-kernel interrupt controllers of one VM, or nowhere of ours when notifiers are handed to
/// another process.
///
/// Numbers are Global System Interrupts of the VM. A sink has one routing table; ``commit(_:)`` changes all given
/// routes together or none.
public protocol InterruptSink: Sendable {
    /// Reserves `count` consecutive numbers for messages and returns the first. Throws
    /// ``InterruptError/numbersExhausted(asked:available:)``.
    func reserve(_ count: Int) throws(InterruptError) -> Int

    /// Gives numbers back. Their routes must be gone.
    func release(_ numbers: Range<Int>)

    /// Sets or drops these routes in one step, or none of them; no kernel call if nothing changes. Numbers ascend, each
    /// is named once.
    func commit(_ changes: [RouteChange]) throws(InterruptError)

    /// Lets `notifier` raise `number`. With `resample`, the interrupt is a level: it stays asserted until the guest's
    /// EOI, which signals `resample`. A number can have several notifiers.
    func attach(_ notifier: EventFD, to number: Int, resample: EventFD?) throws(InterruptError)

    /// Ends that. No event of `notifier` is delivered after it returns. Not attached is no error.
    func detach(_ notifier: EventFD, from number: Int) throws(InterruptError)
}
