public import PCI

/// How a caller names a device: the one place that reads what stands in a `device` parameter.
public enum DeviceSelector: Hashable, Sendable, LosslessStringConvertible {
    /// By its address, `0000:00:10.0`, or `00:10.0` where the domain is 0.
    case address(PCIAddress)
    /// By what the configuration calls it, or a pool it is in.
    case name(String)
    /// By what it is: parts such as `serial=52-54-00-ff-ff-12-34-56`, separated by commas.
    case identity(DeviceIdentity)

    /// The longest text that is read, bytes.
    public static let maximumLength = 512
    /// The longest name, bytes.
    public static let maximumNameLength = 64

    /// Reads a text; nil if it is none of the forms.
    public init?(_ text: String) {
        guard text.utf8.count <= DeviceSelector.maximumLength else { return nil }
        if let address = PCIAddress(abbreviated: text) {
            self = .address(address)
        } else if DeviceSelector.isName(text) {
            self = .name(text)
        } else if let identity = DeviceIdentity(text) {
            self = .identity(identity)
        } else {
            return nil
        }
    }

    /// The text.
    public var description: String {
        switch self {
        case .address(let address): address.description
        case .name(let name): name
        case .identity(let identity): identity.description
        }
    }

    /// Whether a text can be a name: ASCII letters, digits and `_.-`, a letter or digit first, and nothing that looks
    /// like an address with other separators.
    public static func isName(_ text: String) -> Bool {
        guard (1...maximumNameLength).contains(text.utf8.count), let first = text.utf8.first, isAlphanumeric(first),
            text.utf8.allSatisfy({ isAlphanumeric($0) || "_.-".utf8.contains($0) })
        else { return false }
        var parts = text.split(omittingEmptySubsequences: false) { "_.-".contains($0) }.map(String.init)
        guard parts.count > 1, let function = parts.popLast() else { return true }
        return PCIAddress(abbreviated: "\(parts.joined(separator: ":")).\(function)") == nil
    }

    private static func isAlphanumeric(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "a")...UInt8(ascii: "z"):
            true
        default: false
        }
    }
}

/// What a selector comes to.
public enum DeviceTarget: Hashable, Sendable {
    /// A device.
    case device(PCIAddress)
    /// A pool, and how the configuration names its members.
    case pool(String, members: [String])
}
