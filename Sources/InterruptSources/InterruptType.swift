/// The three ways in which a PCI function raises interrupts.
public enum InterruptType: String, Sendable, CaseIterable, Hashable {
    /// The level-triggered INTx line (PCI 3.0 section 2.2.6). One source.
    case legacy = "intx"
    /// Message Signalled Interrupts (PCI 3.0 section 6.8.1): 1, 2, 4, 8, 16 or 32 vectors in one block.
    case msi
    /// MSI-X (PCI 3.0 section 6.8.2): 1 to 2,048 vectors, each with its own message.
    case msix

    /// The most vectors a function can have of this type.
    public var maximumCount: Int {
        switch self {
        case .legacy: 1
        case .msi: 32
        case .msix: 2048
        }
    }

    /// Whether a function can have that many vectors of this type: one line, 1 to 2,048 of MSI-X, a power of two up to
    /// 32 of MSI.
    public func allows(_ count: Int) -> Bool {
        (1...maximumCount).contains(count) && (self != .msi || count.nonzeroBitCount == 1)
    }
}

/// The memory write that a message signalled interrupt is.
public struct InterruptMessage: Hashable, Sendable {
    /// The address written to.
    public var address: UInt64
    /// The data written. In an MSI block, vector i replaces the low bits.
    public var data: UInt32
    /// The requester id that arm64's ITS needs; nil on x86.
    public var deviceID: UInt32?

    /// Creates a message.
    public init(address: UInt64, data: UInt32, deviceID: UInt32? = nil) {
        self.address = address
        self.data = data
        self.deviceID = deviceID
    }
}
