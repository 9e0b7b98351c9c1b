public import LinuxSystem
internal import SystemPackage

/// How the self-test guest takes its interrupts.
public enum GuestDelivery: String, Codable, Sendable {
    /// As messages, each to its slot's virtual CPU and vector. A connect brings one eventfd for each slot.
    case edge
    /// Slot 0 alone, as a level at IOAPIC pin ``GuestSlot/levelPin``. A connect brings the trigger's eventfd and the
    /// resample eventfd, which KVM signals at the guest's EOI.
    case level
}

/// A way in which the guest breaks the relay on purpose, to see that the test notices.
public enum GuestFault: String, Codable, Sendable, CaseIterable {
    /// The routes of slots 0 and 1 are exchanged. Needs two slots.
    case swapRoutes = "swap-routes"
    /// The guest's last slot gets no irqfd.
    case dropIRQFD = "drop-irqfd"
    /// Slot 1 goes to slot 0's vector. Needs two slots.
    case shareVector = "share-vector"
    /// Virtual CPU 0 does not run.
    case stopVCPU = "stop-vcpu"
}

/// What vfiod asks of the self-test guest. Each is answered by one ``GuestReply``, except ``finish``.
public enum GuestRequest: Codable, Hashable, Sendable {
    /// Makes the VM and starts its virtual CPUs: the first message, once. `slots` is the size of the largest window, 1
    /// to ``GuestSlot/maximumSlots``, and 1 for ``GuestDelivery/level``. Brings the descriptor of ``GuestCounters``.
    case setUp(delivery: GuestDelivery, slots: Int, fault: GuestFault?)
    /// Joins slots `first ..< first + count` to the eventfds that come with it.
    case connect(first: Int, count: Int)
    /// Ends that. No event of their eventfds is delivered once it is answered.
    case disconnect(first: Int, count: Int)
    /// Ends the guest.
    case finish
}

/// What the self-test guest answers.
public enum GuestReply: Codable, Hashable, Sendable {
    /// To ``GuestRequest/setUp(delivery:slots:fault:)``: the virtual CPUs have been started.
    case ready
    /// The slots are joined.
    case connected
    /// The slots are no longer joined.
    case disconnected
    /// The request was not done and changed nothing.
    case failed(GuestFailure)
}

/// Why the self-test guest could not do what it was asked to.
public struct GuestFailure: Error, Codable, Hashable, Sendable {
    /// What it was doing, for people.
    public var step: String
    /// The call that was refused.
    public var call: String
    /// The errno's number.
    public var errno: Int32
    /// What to do about it; empty where nothing better is known than the errno.
    public var hint: String

    /// Creates a failure of `step` from the kernel's refusal.
    public init(step: String, _ error: KernelError, hint: String = "") {
        self.step = step
        call = error.subject.isEmpty ? error.call : "\(error.call) \(error.subject)"
        errno = error.errno.rawValue
        self.hint = hint
    }

    /// The refusal as the kernel gave it to the guest.
    public var kernelError: KernelError {
        KernelError(call, Errno(rawValue: errno))
    }
}
