/// One entry of a virtual machine's routing table: where events of a number go (struct kvm_irq_routing_entry).
public struct KVMRoute: Hashable, Sendable {
    /// An interrupt controller with pins (KVM_IRQCHIP_*).
    public enum Chip: UInt32, Hashable, Sendable {
        /// The first 8259.
        case masterPIC = 0
        /// The second 8259.
        case slavePIC = 1
        /// The IOAPIC.
        case ioapic = 2

        /// How many pins it has.
        public var pinCount: Int { self == .ioapic ? 24 : 8 }
    }

    /// Where events go.
    public enum Target: Hashable, Sendable {
        /// To a pin: 0 to 7 of a PIC, 0 to 23 of the IOAPIC.
        case pin(Chip, UInt32)
        /// To the local APICs as a message; arm64's ITS needs the device id.
        case message(address: UInt64, data: UInt32, deviceID: UInt32?)
    }

    /// The most entries of a table, and one more than the largest number (KVM_MAX_IRQ_ROUTES; KVM_CAP_IRQ_ROUTING).
    public static let maximumCount = 4096

    /// The number, 0 to 4,095: a Global System Interrupt of the machine.
    public var gsi: UInt32
    /// Where its events go. A number can go to one pin of each chip, or to one message.
    public var target: Target

    /// Creates a route.
    public init(gsi: UInt32, _ target: Target) {
        self.gsi = gsi
        self.target = target
    }

    /// What a machine has after KVM_CREATE_IRQCHIP, and what must stand in every table after it if PICs and IOAPIC are
    /// to go on working: numbers 0 to 15 to both, 16 to 23 to the IOAPIC (default_routing, arch/x86/kvm/irq.c).
    public static let defaults: [KVMRoute] = (0..<24 as Range<UInt32>).flatMap { gsi in
        let ioapic = KVMRoute(gsi: gsi, .pin(.ioapic, gsi))
        switch gsi {
        case 0..<8: return [ioapic, KVMRoute(gsi: gsi, .pin(.masterPIC, gsi))]
        case 8..<16: return [ioapic, KVMRoute(gsi: gsi, .pin(.slavePIC, gsi - 8))]
        default: return [ioapic]
        }
    }
}
