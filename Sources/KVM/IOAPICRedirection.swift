internal import CLinux
internal import LinuxSystem
internal import SystemPackage

/// What the IOAPIC does with one pin: an entry of its redirection table (82093AA datasheet, section 3.2.4), for fixed
/// delivery to one local APIC.
public struct IOAPICRedirection: Hashable, Sendable {
    /// The x86 vector, 16 to 255.
    public var vector: UInt8
    /// The local APIC id, physical.
    public var destination: UInt8
    /// Level-triggered: asserted again after EOI as long as the pin is.
    public var isLevel: Bool
    /// Masked: a level is remembered, an edge is not.
    public var isMasked: Bool

    /// Creates an entry.
    public init(vector: UInt8, destination: UInt8, isLevel: Bool, isMasked: Bool = false) {
        self.vector = vector
        self.destination = destination
        self.isLevel = isLevel
        self.isMasked = isMasked
    }

    private var bits: UInt64 {
        UInt64(vector) | (isLevel ? 1 << 15 : 0) | (isMasked ? 1 << 16 : 0) | UInt64(destination) << 56
    }

    // struct kvm_irqchip as 65 words of 64 bits: the chip's number, then struct kvm_ioapic_state, whose table of 24
    // entries begins with word 4.
    private static let firstEntry = 4

    static let requestWords = [UInt64(KVM_IRQCHIP_IOAPIC)] + [UInt64](repeating: 0, count: 64)

    func store(in words: inout [UInt64], pin: Int) throws(KernelError) {
        guard (0..<Int(KVM_IOAPIC_NUM_PINS)).contains(pin) else {
            throw KernelError("KVM_SET_IRQCHIP", on: "IOAPIC pin \(pin)", .invalidArgument)
        }
        words[IOAPICRedirection.firstEntry + pin] = bits
    }
}
