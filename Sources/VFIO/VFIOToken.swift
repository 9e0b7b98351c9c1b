/// A VF token (Linux 5.7): the UUID that proves to vfio-pci that who opens a virtual function works together with who has
/// its physical function, where vfio-pci has that too (drivers/vfio/pci/vfio_pci_core.c, vfio_pci_validate_vf_token).
public struct VFIOToken: Hashable, Sendable, Codable, LosslessStringConvertible {
    /// The text form, in lower case.
    public let description: String

    /// Makes a token that nobody can guess: a UUID of version 4 (RFC 9562 section 5.4).
    public init() {
        var generator = SystemRandomNumberGenerator()
        var bytes = (0..<16).map { _ in UInt8.random(in: .min ... .max, using: &generator) }
        bytes[6] = bytes[6] & 0x0f | 0x40
        bytes[8] = bytes[8] & 0x3f | 0x80
        description = VFIOToken.text(bytes)
    }

    /// Reads the text form of a UUID; nil for anything else.
    public init?(_ text: String) {
        let groups = text.split(separator: "-", omittingEmptySubsequences: false)
        guard groups.map(\.utf8.count) == VFIOToken.groups.map({ 2 * $0 }),
            groups.allSatisfy({ $0.utf8.allSatisfy(VFIOToken.isHexadecimalDigit) })
        else { return nil }
        description = text.lowercased()
    }

    /// Reads the text form.
    public init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        guard let token = VFIOToken(try container.decode(String.self)) else {
            throw DecodingError.dataCorruptedError(in: container, debugDescription: "not a UUID")
        }
        self = token
    }

    /// Writes the text form.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(description)
    }

    // Bytes between the hyphens.
    private static let groups = [4, 2, 2, 2, 6]

    private static func isHexadecimalDigit(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "f"),
            UInt8(ascii: "A")...UInt8(ascii: "F"):
            true
        default: false
        }
    }

    private static func text(_ bytes: [UInt8]) -> String {
        var rest = bytes[...]
        return groups.map { count in
            defer { rest = rest.dropFirst(count) }
            return rest.prefix(count).map { byte in
                let digits = String(byte, radix: 16)
                return byte < 16 ? "0" + digits : digits
            }.joined()
        }.joined(separator: "-")
    }
}
