internal import PCI

/// What a guest has written to the registers of its function's MSI and MSI-X capabilities that do not reach the device:
/// message control, address and data (PCI 3.0 sections 6.8.1 and 6.8.2).
///
/// The host's own messages stand there. The guest's would silence a device whose interrupts are wired.
struct ConfigurationShadow: Sendable {
    /// A run of a write that goes on to the device.
    struct Part: Hashable, Sendable {
        let offset: UInt64
        var bytes: [UInt8]
    }

    private static let enable: UInt8 = 0x01  // MSI message control, bit 0
    private static let allowed: UInt8 = 0x70  // bits 4 to 6
    private static let wideAddress: UInt8 = 0x80  // bit 7
    private static let tableControl: UInt8 = 0xc0  // MSI-X message control, bits 14 and 15

    /// By offset: what the guest wrote, and which of its bits it could write.
    private var registers: [UInt64: (value: UInt8, writable: UInt8)] = [:]
    private var msiControl: UInt64?

    /// Begins with what the function shows. Nil for one that does not answer: where its capabilities are is not known
    /// then. VFIO knows its ids by itself, so that the status register has to tell, which has bits that read 0.
    init?(_ config: ConfigSpace) {
        if config.word(at: 0x00) == 0xffff || config.word(at: 0x06) == 0xffff { return nil }
        for capability in config.capabilities {
            let base = capability.offset
            switch capability.id {
            case .msi:
                guard let control = config.byte(at: base + 2) else { continue }
                msiControl = UInt64(base + 2)
                let writable = ConfigurationShadow.enable | ConfigurationShadow.allowed
                keep(base + 2, control & ~writable, writable)
                let isWide = control & ConfigurationShadow.wideAddress != 0
                // The address's lowest two bits are 0.
                for offset in 4..<(isWide ? 14 : 10) { keep(base + offset, 0, offset == 4 ? 0xfc : 0xff) }
            case .msix:
                guard let control = config.byte(at: base + 3) else { continue }
                keep(base + 3, control & ~ConfigurationShadow.tableControl, ConfigurationShadow.tableControl)
            default: break
            }
        }
    }

    /// How many vectors the guest allows by Multiple Message Enable; nil without MSI.
    var msiVectors: Int? {
        guard let msiControl, let control = registers[msiControl]?.value else { return nil }
        // The encodings 6 and 7 are reserved.
        return 1 << min(5, Int(control & ConfigurationShadow.allowed) >> 4)
    }

    /// Puts what the guest wrote into what was read at `offset`.
    func fill(_ bytes: inout [UInt8], at offset: UInt64) {
        for index in bytes.indices {
            if let register = registers[offset &+ UInt64(index)] { bytes[index] = register.value }
        }
    }

    /// Takes what of a write is for these registers. Returns the rest, in runs.
    mutating func take(_ bytes: [UInt8], at offset: UInt64) -> [Part] {
        var rest: [Part] = []
        var isRun = false
        for (index, byte) in bytes.enumerated() {
            let position = offset &+ UInt64(index)
            if let register = registers[position] {
                registers[position]?.value = register.value & ~register.writable | byte & register.writable
                isRun = false
            } else if isRun, let last = rest.indices.last {
                rest[last].bytes.append(byte)
            } else {
                rest.append(Part(offset: position, bytes: [byte]))
                isRun = true
            }
        }
        return rest
    }

    private mutating func keep(_ offset: Int, _ value: UInt8, _ writable: UInt8) {
        registers[UInt64(offset)] = (value, writable)
    }
}
