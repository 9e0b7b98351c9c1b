public import PCI

/// A blocker that the caller takes upon itself: the one with this code, of this function.
///
/// As text it is a code, such as `network-address`, or a code and the member of the IOMMU group that it is about, such as
/// `iommu-group-sibling-in-use=0000:03:03.0`.
public struct Consent: Hashable, Sendable, CustomStringConvertible {
    /// The blocker's code.
    public let code: BlockerCode
    /// The function that the blocker is about; nil for the one that the operation is on.
    public let member: PCIAddress?

    /// Creates a consent. What allows none is not overridden by it.
    public init(_ code: BlockerCode, of member: PCIAddress? = nil) {
        (self.code, self.member) = (code, member)
    }

    /// Reads the text form; nil for a code that there is not, or that allows no consent. The domain of the address may be
    /// left out where it is 0.
    public init?(_ text: String) {
        let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        guard let name = parts.first, let code = BlockerCode(rawValue: String(name)), code.allowsConsent else {
            return nil
        }
        if let place = parts.dropFirst().first {
            guard let member = PCIAddress(abbreviated: String(place)) else { return nil }
            self.init(code, of: member)
        } else {
            // Who else is in the IOMMU group is what the consent has to show that the caller knows.
            guard code != .siblingInUse else { return nil }
            self.init(code)
        }
    }

    /// The text form.
    public var description: String { code.rawValue + (member.map { "=\($0)" } ?? "") }
}

extension Blocker {
    /// The consent that overrides it, nil if none does.
    public var consent: Consent? { code.allowsConsent ? Consent(code, of: member) : nil }
}

extension Plan {
    /// The members of the IOMMU group that it binds along.
    var siblingsInUse: Set<PCIAddress> {
        Set(blockers.filter { $0.code == .siblingInUse }.compactMap(\.member))
    }
}

extension Set where Element == Consent {
    /// Those of `blockers` that stand against an operation on `address` all the same.
    public func unmet(_ blockers: [Blocker], on address: PCIAddress) -> [Blocker] {
        blockers.filter { blocker in
            guard let needed = blocker.consent else { return true }
            if contains(needed) { return false }
            // The device that the operation is on may be named too.
            return !(needed.member == nil && contains(Consent(needed.code, of: address)))
        }
    }

    /// The members of an IOMMU group that may be bound along.
    var siblings: Set<PCIAddress> { Set<PCIAddress>(filter { $0.code == .siblingInUse }.compactMap(\.member)) }
}
