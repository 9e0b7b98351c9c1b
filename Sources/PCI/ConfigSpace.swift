/// The bytes of a function's configuration space, as far as they could be read: 64 without CAP_SYS_ADMIN, else 256 or
/// 4,096. Nothing in them is trusted.
public struct ConfigSpace: Hashable, Sendable {
    /// A capability's id (PCI 3.0 appendix H).
    public struct CapabilityID: RawRepresentable, Hashable, Sendable {
        /// The id.
        public let rawValue: UInt8
        /// Creates an id.
        public init(rawValue: UInt8) { self.rawValue = rawValue }
        /// Message Signalled Interrupts.
        public static let msi = CapabilityID(rawValue: 0x05)
        /// MSI-X.
        public static let msix = CapabilityID(rawValue: 0x11)
    }

    /// A capability beyond the first 256 bytes (PCI Express 5.0 section 7.6.3).
    public struct ExtendedCapability: Hashable, Sendable {
        /// Its id.
        public let id: UInt16
        /// Its offset, 0x100 to 0xffc, a multiple of 4.
        public let offset: Int
        /// Device Serial Number.
        public static let serialNumber: UInt16 = 0x0003
    }

    /// The bits of the command register that say what a function may do now (PCI 3.0 section 6.2.2).
    public struct Command: Hashable, Sendable {
        /// Whether it answers in I/O space.
        public let answersIO: Bool
        /// Whether it answers in memory space.
        public let answersMemory: Bool
        /// Whether it may do DMA and send message signalled interrupts.
        public let isBusMaster: Bool
        /// Whether it must not assert INTx.
        public let disablesINTx: Bool

        /// Creates a command.
        public init(answersIO: Bool, answersMemory: Bool, isBusMaster: Bool, disablesINTx: Bool) {
            (self.answersIO, self.answersMemory) = (answersIO, answersMemory)
            (self.isBusMaster, self.disablesINTx) = (isBusMaster, disablesINTx)
        }
    }

    /// A capability and where it begins.
    public struct Capability: Hashable, Sendable {
        /// Its id.
        public let id: CapabilityID
        /// Its offset, 0x40 to 0xfc, a multiple of 4.
        public let offset: Int
    }

    /// The bytes from offset 0.
    public let bytes: [UInt8]

    /// Takes what was read.
    public init(_ bytes: [UInt8]) { self.bytes = bytes }

    /// The byte at `offset`, nil outside of what was read.
    public func byte(at offset: Int) -> UInt8? {
        bytes.indices.contains(offset) ? bytes[offset] : nil
    }

    /// The little-endian 16 bits at `offset`, nil outside of what was read.
    public func word(at offset: Int) -> UInt16? {
        guard offset < Int.max, let low = byte(at: offset), let high = byte(at: offset + 1) else { return nil }
        return UInt16(high) << 8 | UInt16(low)
    }

    /// The little-endian 32 bits at `offset`, nil outside of what was read.
    public func long(at offset: Int) -> UInt32? {
        guard offset < Int.max - 1, let low = word(at: offset), let high = word(at: offset + 2) else { return nil }
        return UInt32(high) << 16 | UInt32(low)
    }

    /// The header's layout without the multi-function bit: 0 for an ordinary function, 1 and 2 for bridges.
    public var headerType: UInt8? { byte(at: 0x0e).map { $0 & 0x7f } }

    /// The capabilities in the order of their list. A list that leaves what was read, points into the header or comes
    /// back to itself ends there.
    public var capabilities: [Capability] {
        // A function that does not answer reads as all ones, this register too.
        guard let status = word(at: 0x06), status != 0xffff, status & 0x10 != 0 else { return [] }
        var found: [Capability] = []
        var seen: Set<Int> = []
        var next = byte(at: headerType == 2 ? 0x14 : 0x34)
        while let pointer = next {
            // The low two bits are reserved and to be ignored (PCI 3.0 section 6.7).
            let offset = Int(pointer & 0xfc)
            guard offset >= 0x40, seen.insert(offset).inserted, let id = byte(at: offset), id != 0xff else { break }
            found.append(Capability(id: CapabilityID(rawValue: id), offset: offset))
            next = byte(at: offset + 1)
        }
        return found
    }

    /// The vectors the MSI capability asks for: 1 to 32, or 0 if there is none. The encodings 6 and 7 of Multiple
    /// Message Capable are reserved and count as none (PCI 3.0 section 6.8.1.3).
    public var msiVectors: Int {
        guard let capability = first(.msi), let control = word(at: capability.offset + 2) else { return 0 }
        let exponent = Int(control >> 1 & 7)
        return exponent > 5 ? 0 : 1 << exponent
    }

    /// The size of the MSI-X table: 1 to 2,048, or 0 if there is none (PCI 3.0 section 6.8.2.3).
    public var msixVectors: Int {
        guard let capability = first(.msix), let control = word(at: capability.offset + 2) else { return 0 }
        return Int(control & 0x7ff) + 1
    }

    /// Whether it has an INTx pin: A to D are 1 to 4, anything else is none (PCI 3.0 section 6.2.4).
    public var hasInterruptPin: Bool {
        byte(at: 0x3d).map { (1...4).contains($0) } ?? false
    }

    /// The capabilities beyond the first 256 bytes, in the order of their list; none if those were not read. A list that
    /// comes back to itself, or leaves its room, ends there.
    public var extendedCapabilities: [ExtendedCapability] {
        var found: [ExtendedCapability] = []
        var seen: Set<Int> = []
        var offset = 0x100
        while offset >= 0x100, let header = long(at: offset), header != 0, header != .max, seen.insert(offset).inserted
        {
            found.append(ExtendedCapability(id: UInt16(truncatingIfNeeded: header), offset: offset))
            offset = Int(header >> 20) & 0xffc
        }
        return found
    }

    /// What its Device Serial Number capability says (PCI Express 5.0 section 7.9.3); nil if it has none.
    public var serialNumber: PCISerialNumber? {
        guard let capability = extendedCapabilities.first(where: { $0.id == ExtendedCapability.serialNumber }),
            let low = long(at: capability.offset + 4), let high = long(at: capability.offset + 8)
        else { return nil }
        return PCISerialNumber(rawValue: UInt64(high) << 32 | UInt64(low))
    }

    /// Whether the function answered: one that does not, reads as all ones. A virtual function has all ones for its ids
    /// and no more (SR-IOV 1.1 section 3.4.1).
    public var isAnswered: Bool { bytes.prefix(64).contains { $0 != 0xff } }

    /// The command register as it reads; nil if the function did not answer.
    public var commandRegister: UInt16? { isAnswered ? word(at: 0x04) : nil }

    /// The command register; nil if the function did not answer.
    public var command: Command? {
        guard let word = commandRegister else { return nil }
        return Command(
            answersIO: word & 1 != 0, answersMemory: word & 2 != 0, isBusMaster: word & 4 != 0,
            disablesINTx: word & 0x400 != 0)
    }

    private func first(_ id: CapabilityID) -> Capability? {
        capabilities.first { $0.id == id }
    }
}
