import LinuxSystem
import SelfTestProtocol

/// A running self-test guest, as the test sees it. In production a child process, in tests whatever counts.
protocol SelfTestGuestPort: Sendable {
    /// Joins slots from 0 on to these notifiers.
    func connect(_ notifiers: [EventFD]) throws(GuestProtocolError)

    /// Joins slot 0 of a level-triggered guest.
    func connectLevel(trigger: EventFD, resample: EventFD) throws(GuestProtocolError)

    /// Ends the joining of slots `0 ..< count`.
    func disconnect(count: Int) throws(GuestProtocolError)

    /// How often slot `slot` was interrupted, modulo 2^32.
    func count(_ slot: Int) -> UInt32

    /// Interrupts that arrived on vectors of no slot.
    func strays() -> Int

    /// Exceptions of the guest's own: anything but 0 means that the guest failed.
    func exceptions() -> Int

    /// Level only: lets the handler of arrival `count` go on to its EOI.
    func acknowledge(_ count: UInt32)

    /// Level only: how many arrivals the guest has finished with, EOI included, modulo 2^32.
    func completed() -> UInt32

    /// Ends the guest.
    func end()
}

/// Starts self-test guests.
protocol SelfTestGuestLauncher: Sendable {
    /// Starts a guest with that many slots.
    func launch(
        _ delivery: GuestDelivery, slots: Int, fault: GuestFault?
    ) throws(GuestProtocolError) -> any SelfTestGuestPort
}
