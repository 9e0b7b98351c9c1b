internal import PCI

/// What of a configuration space stays as it is whatever a guest does: who made the function, and what it is.
struct DeviceSignature: Hashable, Sendable {
    private let bytes: [UInt8?]

    /// Vendor and device id, revision and class (PCI 3.0 section 6.2.1). A virtual function has no ids of its own, but a
    /// class.
    init(_ config: ConfigSpace) {
        bytes = (Array(0..<4) + Array(8..<12)).map { config.byte(at: $0) }
    }

    /// Whether the function answers at all: all ones is what nobody says.
    var answers: Bool { bytes.contains { $0 != nil && $0 != 0xff } }
}
