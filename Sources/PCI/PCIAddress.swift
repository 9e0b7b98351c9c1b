/// Where a PCI function sits: domain, bus, device and function, written `0000:00:10.0`.
public struct PCIAddress: Hashable, Comparable, Sendable, LosslessStringConvertible {
    /// The PCI domain (segment), 0 to 0xffffffff; wider than 16 bits behind some host bridges (VMD).
    public let domain: UInt32
    /// The bus, 0 to 255.
    public let bus: UInt8
    /// The device on the bus, 0 to 31.
    public let device: UInt8
    /// The function of the device, 0 to 7.
    public let function: UInt8

    /// Creates an address. Nil if the device is above 31 or the function above 7.
    public init?(domain: UInt32, bus: UInt8, device: UInt8, function: UInt8) {
        guard device < 32, function < 8 else { return nil }
        (self.domain, self.bus, self.device, self.function) = (domain, bus, device, function)
    }

    /// Reads `DDDD:BB:dd.f` as sysfs writes it, hexadecimal in either case; the domain may have 4 to 8 digits. Nil for
    /// anything else.
    public init?(_ text: String) {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 3, (4...8).contains(parts[0].utf8.count), parts[1].utf8.count == 2 else { return nil }
        let slot = parts[2].split(separator: ".", omittingEmptySubsequences: false)
        guard slot.count == 2, slot[0].utf8.count == 2, slot[1].utf8.count == 1 else { return nil }
        let digits = [parts[0], parts[1], slot[0], slot[1]]
        guard digits.allSatisfy({ $0.utf8.allSatisfy(PCIAddress.isHexDigit) }),
            let domain = UInt32(digits[0], radix: 16), let bus = UInt8(digits[1], radix: 16),
            let device = UInt8(digits[2], radix: 16), let function = UInt8(digits[3], radix: 16)
        else { return nil }
        self.init(domain: domain, bus: bus, device: device, function: function)
    }

    /// Reads it as people write it: as sysfs does, or without the domain where that is 0. Nil for anything else.
    public init?(abbreviated text: String) {
        guard let address = PCIAddress(text) ?? PCIAddress("0000:" + text) else { return nil }
        self = address
    }

    /// The form sysfs uses.
    public var description: String {
        let functionDigit = String(function, radix: 16)
        return "\(hex(domain, 4)):\(hex(UInt32(bus), 2)):\(hex(UInt32(device), 2)).\(functionDigit)"
    }

    /// In the order of lspci.
    public static func < (left: PCIAddress, right: PCIAddress) -> Bool {
        (left.domain, left.bus, left.device, left.function) < (right.domain, right.bus, right.device, right.function)
    }

    static func isHexDigit(_ byte: UInt8) -> Bool {
        (0x30...0x39).contains(byte) || (0x41...0x46).contains(byte) || (0x61...0x66).contains(byte)
    }
}

/// `value` in lower-case hexadecimal with at least `digits` digits.
public func hex(_ value: UInt32, _ digits: Int) -> String {
    let text = String(value, radix: 16)
    return String(repeating: "0", count: max(0, digits - text.utf8.count)) + text
}
