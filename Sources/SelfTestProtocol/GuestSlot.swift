/// Where the interrupts of one vector of the window under test arrive in the self-test guest.
///
/// A slot's index counts within the *connected window*, not within the device: the device's vector `first + i` of a
/// window that begins at `first` is slot i, and after the window was disconnected the next one begins with slot 0 again.
public struct GuestSlot: Hashable, Sendable {
    /// The x86 vector of a virtual CPU's first slot. Those below are the CPU's exceptions.
    public static let firstVector: UInt8 = 32
    /// How many slots a virtual CPU has: x86 vectors 32 to 251.
    public static let slotsPerVCPU = 220
    /// The most virtual CPUs, given by where the guest's memory lies.
    public static let maximumVCPUs = 16
    /// The most slots: more than an MSI-X table has entries.
    public static let maximumSlots = slotsPerVCPU * maximumVCPUs
    /// The IOAPIC pin to which slot 0 of a level-triggered guest is joined. It has no pin of the PIC beside it.
    public static let levelPin = 16

    /// The index within the window.
    public let index: Int
    /// The virtual CPU, which is also its local APIC id.
    public let vcpu: Int
    /// The x86 vector. For slots 0 to 31 it is an aligned block as MSI needs it: slot i replaces the low bits.
    public let vector: UInt8

    /// The slot of that index; nil if it is not in `0 ..< maximumSlots`.
    public init?(index: Int) {
        guard (0..<GuestSlot.maximumSlots).contains(index) else { return nil }
        self.index = index
        vcpu = index / GuestSlot.slotsPerVCPU
        vector = GuestSlot.firstVector + UInt8(index % GuestSlot.slotsPerVCPU)
    }

    /// How many virtual CPUs a guest of that many slots has; nil if the count is not in `1 ... maximumSlots`.
    public static func vcpus(forSlots slots: Int) -> Int? {
        guard (1...maximumSlots).contains(slots) else { return nil }
        return (slots - 1) / slotsPerVCPU + 1
    }
}
