/// A device serial number: an EUI-64 that all functions of a device share (PCI Express 5.0 section 7.9.3).
public struct PCISerialNumber: RawRepresentable, Hashable, Sendable, LosslessStringConvertible {
    /// The number, its first byte on top.
    public let rawValue: UInt64

    /// Creates a number.
    public init(rawValue: UInt64) { self.rawValue = rawValue }

    /// Reads the form that lspci writes, hexadecimal in either case; nil for anything else.
    public init?(_ text: String) {
        let bytes = text.split(separator: "-", omittingEmptySubsequences: false)
        guard bytes.count == 8,
            bytes.allSatisfy({ $0.utf8.count == 2 && $0.utf8.allSatisfy(PCIAddress.isHexDigit) }),
            let number = UInt64(bytes.joined(), radix: 16)
        else { return nil }
        rawValue = number
    }

    /// As lspci writes it: `52-54-00-ff-ff-12-34-56`.
    public var description: String {
        (0..<8).map { hex(UInt32(rawValue >> (56 - 8 * UInt64($0)) & 0xff), 2) }.joined(separator: "-")
    }
}
