public import PCI

/// What a function's configuration space says of it that does not change as long as it is there.
public struct DeviceConfiguration: Hashable, Sendable {
    /// A capability of a function.
    public struct Capability: Hashable, Sendable {
        /// Its id, 8 bits, or 16 for an extended one.
        public let id: UInt16
        /// Whether it is one of PCI Express' extended capabilities, which are numbered apart.
        public let isExtended: Bool
        /// Where it begins in configuration space.
        public let offset: Int

        /// Creates a capability.
        public init(id: UInt16, isExtended: Bool, offset: Int) {
            (self.id, self.isExtended, self.offset) = (id, isExtended, offset)
        }
    }

    /// Vectors by type.
    public let interrupts: InterruptCounts
    /// In the order of their lists; the extended ones last. Empty where we lack the right to read them.
    public let capabilities: [Capability]
    /// The serial number of its device, nil if it has none.
    public let serialNumber: PCISerialNumber?

    /// Takes what it needs; nil if the function did not answer.
    init?(_ config: ConfigSpace) {
        guard config.isAnswered else { return nil }
        interrupts = InterruptCounts(
            legacy: config.hasInterruptPin ? 1 : 0, msi: config.msiVectors, msix: config.msixVectors)
        capabilities =
            config.capabilities.map { Capability(id: UInt16($0.id.rawValue), isExtended: false, offset: $0.offset) }
            + config.extendedCapabilities.map { Capability(id: $0.id, isExtended: true, offset: $0.offset) }
        serialNumber = config.serialNumber
    }
}
