internal import PCI

/// Which devices an identity tells, and where it fails to tell any.
struct IdentitySearch {
    /// A device that is meant but for one part.
    struct Mismatch {
        let address: PCIAddress
        let part: DeviceIdentity.Part
        let expected: String
        let found: String
    }

    /// Those with which all parts agree, ascending.
    private(set) var agreeing: [PCIAddress] = []
    /// Those that have not told a part yet, while the others agree.
    private(set) var unknown: [PCIAddress] = []
    /// The device that is meant most likely, if none agrees.
    private(set) var nearest: Mismatch?

    /// Looks through all devices. One that is gone counts only where no other agrees.
    init(_ identity: DeviceIdentity, in inventory: Inventory) {
        var gone: [PCIAddress] = []
        var differing: [(device: Inventory.Device, agreeing: Set<DeviceIdentity.Part>)] = []
        for address in inventory.addresses {
            guard let device = inventory[address] else { continue }
            var verdicts: [DeviceIdentity.Part: DeviceIdentity.Verdict] = [:]
            for part in DeviceIdentity.Part.allCases {
                verdicts[part] = identity.verdict(part, on: device, in: inventory)
            }
            if verdicts.values.allSatisfy({ $0 == .agrees }) {
                if device.isGone { gone.append(address) } else { agreeing.append(address) }
            } else if device.isGone {
                continue
            } else if !verdicts.values.contains(.differs) {
                unknown.append(address)
            } else {
                differing.append((device, Set(verdicts.filter { $0.value == .agrees }.keys)))
            }
        }
        if agreeing.isEmpty && unknown.isEmpty { agreeing = gone }
        if agreeing.isEmpty && unknown.isEmpty { nearest = IdentitySearch.nearest(identity, differing, inventory) }
    }

    /// By the part that says most of one device and that any has. What is told only by its kind is meant if there is just
    /// one of that kind.
    private static func nearest(
        _ identity: DeviceIdentity, _ devices: [(device: Inventory.Device, agreeing: Set<DeviceIdentity.Part>)],
        _ inventory: Inventory
    ) -> Mismatch? {
        for part in DeviceIdentity.Part.allCases {
            let candidates = devices.filter { $0.agreeing.contains(part) }
            // Of equal ones the first.
            guard let best = candidates.reversed().max(by: { $0.agreeing.count < $1.agreeing.count }) else { continue }
            if part.isKind && candidates.count > 1 { return nil }
            return DeviceIdentity.Part.allCases.lazy.compactMap { part -> Mismatch? in
                guard identity.verdict(part, on: best.device, in: inventory) == .differs,
                    let expected = identity.expected(part)
                else { return nil }
                return Mismatch(
                    address: best.device.address, part: part, expected: expected,
                    found: DeviceIdentity.found(part, on: best.device, in: inventory))
            }.first
        }
        return nil
    }
}
