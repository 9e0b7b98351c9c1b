public import PCI

/// The devices that are kept from the host's drivers from the moment the host finds them.
///
/// As text, a line for each: its name, a space, and what tells it, such as `uplink serial=52-54-00-ff-ff-12-34-56`. Lines
/// that begin with `#` say nothing.
public struct BootClaims: Hashable, Sendable, LosslessStringConvertible {
    /// One of them.
    public struct Claim: Hashable, Sendable {
        /// What the configuration calls it.
        public let name: String
        /// What tells it.
        public let identity: DeviceIdentity

        /// Creates a claim.
        public init(name: String, identity: DeviceIdentity) { (self.name, self.identity) = (name, identity) }
    }

    /// Where they are kept, in the host and in its initial RAM disk.
    public static let path = "/etc/vfiod/boot-claims"
    /// The longest text that is read, bytes.
    public static let maximumLength = 1 << 16
    /// The parts that can be told before any driver is loaded. What names a slot is a driver.
    public static let parts = DeviceIdentity.Part.allCases.filter { $0 != .slot }

    private static let header =
        "# Devices that vfiod keeps from the host's drivers at boot. `vfioctl apply` writes this.\n"

    /// In the order of the configuration.
    public var claims: [Claim]

    /// Creates claims.
    public init(_ claims: [Claim] = []) { self.claims = claims }

    /// Reads the text form; nil for anything else. Half of what was meant is not claimed.
    public init?(_ text: String) {
        guard text.utf8.count <= BootClaims.maximumLength else { return nil }
        claims = []
        for line in text.split(separator: "\n") where !line.hasPrefix("#") {
            let parts = line.split(separator: " ", omittingEmptySubsequences: false).map(String.init)
            guard parts.count == 2, let name = parts.first, !name.isEmpty, let text = parts.last,
                let identity = DeviceIdentity(text), identity.slot == nil
            else { return nil }
            claims.append(Claim(name: name, identity: identity))
        }
    }

    /// The text form; empty if there are none.
    public var description: String {
        claims.isEmpty ? "" : BootClaims.header + claims.map { "\($0.name) \($0.identity)\n" }.joined()
    }
}
