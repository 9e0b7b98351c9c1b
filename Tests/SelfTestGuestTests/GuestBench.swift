import Glibc
import KVM
import LinuxSystem
import SelfTestProtocol
import TestSupport
import Testing

@testable import SelfTestGuest

/// A running self-test guest in this process, with the eventfds that VFIO would signal.
final class GuestBench {
    let counters: GuestCounters
    let machine: GuestMachine
    let notifiers: [EventFD]

    init(_ delivery: GuestDelivery = .edge, slots: Int = 1, fault: GuestFault? = nil) throws {
        let counters = try GuestCounters(slots: slots)
        let descriptor = OwnedDescriptor(adopting: dup(counters.descriptor))
        machine = try GuestMachine(
            KVMSystem(kernel: LiveKernel()), delivery, slots: slots, fault: fault, counters: descriptor)
        notifiers = try (0..<slots).map { _ in try EventFD() }
        self.counters = counters
        machine.start()
    }

    var counts: [UInt32] { (0..<counters.slots).map { counters.count(ofSlot: $0) } }

    /// Raises `slot` and waits until what it counts has changed.
    func raise(_ slot: Int) throws -> Bool {
        let before = counters.count(ofSlot: slot)
        try notifiers[slot].signal()
        return eventually { counters.count(ofSlot: slot) != before }
    }

    /// Lets everything that was raised before arrive: the local APIC serves what has a higher vector first, and `slot`,
    /// raised last and lowest of its CPU, has arrived.
    func settle(with slot: Int) throws { #expect(try raise(slot)) }
}
