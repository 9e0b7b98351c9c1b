/// A vendor's id and that of one of its devices. As text, `8086:10d3`.
public struct PCIIDs: Hashable, Sendable, LosslessStringConvertible {
    /// The vendor.
    public let vendor: UInt16
    /// The device, or the subsystem.
    public let device: UInt16

    /// Creates a pair.
    public init(vendor: UInt16, device: UInt16) { (self.vendor, self.device) = (vendor, device) }

    /// Reads the text form, four hexadecimal digits each; nil for anything else.
    public init?(_ text: String) {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 2, let vendor = PCIIDs.number(String(parts[0])),
            let device = PCIIDs.number(String(parts[1]))
        else { return nil }
        self.init(vendor: vendor, device: device)
    }

    /// One id of four hexadecimal digits; nil for anything else.
    public static func number(_ text: String) -> UInt16? {
        guard text.utf8.count == 4, text.utf8.allSatisfy(PCIAddress.isHexDigit) else { return nil }
        return UInt16(text, radix: 16)
    }

    /// The text form.
    public var description: String { "\(hex(UInt32(vendor), 4)):\(hex(UInt32(device), 4))" }
}
