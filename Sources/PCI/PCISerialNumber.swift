/// A device serial number: an EUI-64 that all functions of a device share (PCI Express 5.0 section 7.9.3).
public struct PCISerialNumber: RawRepresentable, Hashable, Sendable, CustomStringConvertible {
    /// The number, its first byte on top.
    public let rawValue: UInt64

    /// Creates a number.
    public init(rawValue: UInt64) { self.rawValue = rawValue }

    /// As lspci writes it: `52-54-00-ff-ff-12-34-56`.
    public var description: String {
        (0..<8).map { hex(UInt32(rawValue >> (56 - 8 * UInt64($0)) & 0xff), 2) }.joined(separator: "-")
    }
}
