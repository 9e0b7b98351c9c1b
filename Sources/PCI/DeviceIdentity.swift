/// What tells one device from all others. All the parts that are given must agree.
///
/// As text, parts with their values, such as `id=8086:10d3,serial=52-54-00-ff-ff-12-34-56`.
public struct DeviceIdentity: Hashable, Sendable, LosslessStringConvertible {
    /// One of the things by which a device is told, by its name in texts. Those that say more of one device come first.
    public enum Part: String, Sendable, CaseIterable {
        /// Its address.
        case address
        /// The way to it from a root bus.
        case path
        /// Its serial number.
        case serial
        /// The physical slot it is in.
        case slot
        /// Its vendor and device id.
        case id
        /// Its subsystem's vendor and device id.
        case subsystem

        /// Whether many devices of a host may have the same.
        public var isKind: Bool { self == .id || self == .subsystem }
    }

    /// The longest name of a slot, bytes.
    public static let maximumSlotLength = 64

    /// Its address.
    public var address: PCIAddress?
    /// The way to it.
    public var path: PCIPath?
    /// Its serial number.
    public var serial: PCISerialNumber?
    /// The slot, by the name that Describe shows.
    public var slot: String?
    /// Its ids.
    public var id: PCIIDs?
    /// Its subsystem's ids.
    public var subsystem: PCIIDs?

    /// Creates an identity without parts, which says nothing.
    public init() {}

    /// Reads the text form: one part at least, and each once. Nil for anything else.
    public init?(_ text: String) {
        for assignment in text.split(separator: ",", omittingEmptySubsequences: false) {
            let sides = assignment.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard sides.count == 2, let part = Part(rawValue: String(sides[0])), expected(part) == nil,
                set(part, String(sides[1]))
            else { return nil }
        }
    }

    /// The text form.
    public var description: String {
        Part.allCases.compactMap { part in expected(part).map { "\(part.rawValue)=\($0)" } }.joined(separator: ",")
    }

    /// Whether it says nothing.
    public var isEmpty: Bool { Part.allCases.allSatisfy { expected($0) == nil } }

    /// Sets a part from its text. Returns false, and changes nothing, for one that is none.
    public mutating func set(_ part: Part, _ text: String) -> Bool {
        func take<Value: LosslessStringConvertible>(_ value: Value?, _ target: inout Value?) -> Bool {
            target = value ?? target
            return value != nil
        }
        return switch part {
        case .address: take(PCIAddress(abbreviated: text), &address)
        case .path: take(PCIPath(text), &path)
        case .serial: take(PCISerialNumber(text), &serial)
        case .slot: take(DeviceIdentity.isSlot(text) ? text : nil, &slot)
        case .id: take(PCIIDs(text), &id)
        case .subsystem: take(PCIIDs(text), &subsystem)
        }
    }

    private static func isSlot(_ text: String) -> Bool {
        (1...maximumSlotLength).contains(text.utf8.count) && text.unicodeScalars.allSatisfy { $0.value >= 0x20 }
    }

    /// What a part has to be, nil if it is not given.
    public func expected(_ part: Part) -> String? {
        switch part {
        case .address: address?.description
        case .path: path?.description
        case .serial: serial?.description
        case .slot: slot
        case .id: id?.description
        case .subsystem: subsystem?.description
        }
    }
}

extension PCIFunction {
    /// Its ids.
    public var ids: PCIIDs { PCIIDs(vendor: vendorID, device: deviceID) }
    /// Its subsystem's ids.
    public var subsystemIDs: PCIIDs { PCIIDs(vendor: subsystemVendorID, device: subsystemDeviceID) }
}
