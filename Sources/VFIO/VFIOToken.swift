internal import FoundationEssentials

/// A VF token (Linux 5.7): the UUID that proves to vfio-pci that who opens a virtual function works together with who has
/// its physical function, where vfio-pci has that too (drivers/vfio/pci/vfio_pci_core.c, vfio_pci_validate_vf_token).
public struct VFIOToken: Hashable, Sendable, Codable, LosslessStringConvertible {
    private let uuid: UUID

    /// Makes a token that nobody can guess: a UUID of version 4 (RFC 9562 section 5.4).
    public init() { uuid = UUID() }

    /// Reads the text form of a UUID; nil for anything else.
    public init?(_ text: String) {
        guard let uuid = UUID(uuidString: text) else { return nil }
        self.uuid = uuid
    }

    /// Reads the text form.
    public init(from decoder: any Decoder) throws { uuid = try UUID(from: decoder) }

    /// Writes the text form.
    public func encode(to encoder: any Encoder) throws { try uuid.encode(to: encoder) }

    /// The text form, in lower case.
    public var description: String { uuid.uuidString.lowercased() }
}
