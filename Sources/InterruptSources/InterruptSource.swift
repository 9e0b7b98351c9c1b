public import LinuxSystem

/// Where the interrupts of one type of one device come from: for a real device, one VFIO interrupt index.
///
/// A source knows nothing of masks, guests or order: ``InterruptSourceGroup`` decides those. Calls on one device are
/// serialised by their caller. Each either does all it says or throws and leaves the source as it was, unless it says
/// otherwise.
public protocol InterruptSource: Sendable {
    /// The type whose interrupts it raises.
    var type: InterruptType { get }

    /// How many vectors the device has of this type, at least 1.
    var count: Int { get }

    /// Whether vectors can be connected that ``enable(_:)`` did not name, without disabling first
    /// (VFIO_IRQ_INFO_NORESIZE clear).
    var growsWhileEnabled: Bool { get }

    /// Turns the type on. Element i is the notifier of vector i; nil connects nothing. The host provides for as many
    /// vectors as there are elements. Throws ``InterruptError/hostExhausted(asked:available:)`` where it cannot;
    /// `available` is then how many elements, from the first, it could have provided for.
    func enable(_ notifiers: [EventFD?]) throws(InterruptError)

    /// While on: gives vectors from `first` these notifiers, nil to disconnect. A failure leaves the whole range
    /// disconnected, as the kernel does; the caller connects again from its own state. Throws
    /// ``InterruptError/hostExhausted(asked:available:)`` with `available` as in ``enable(_:)``.
    func connect(first: Int, _ notifiers: [EventFD?]) throws(InterruptError)

    /// Turns the type off. Off already is no error.
    func disable() throws(InterruptError)

    /// Signals the notifiers connected to the vectors `first ..< first + count`, as if the device had raised them.
    func trigger(first: Int, count: Int) throws(InterruptError)

    /// Level only: the eventfd whose signal unmasks the line, or nil for none. One at a time.
    func setUnmaskNotifier(_ notifier: EventFD?) throws(InterruptError)

    /// Level only: masks or unmasks the line at the host.
    func setLineMasked(_ masked: Bool) throws(InterruptError)

    /// Level only: whether the device asserts the line now: Interrupt Status in its configuration space, unless Command
    /// disables INTx.
    func isLineAsserted() throws(InterruptError) -> Bool
}
