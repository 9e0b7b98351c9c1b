public import InterruptSources
public import LinuxSystem
public import PCI

/// What the owner of a lease can ask of a device while its session lasts. Every call throws ``LeaseError/ended(_:_:)``
/// once the session is being ended.
public protocol DeviceSession: Sendable {
    /// What the device has.
    func describe() async throws(LeaseError) -> SessionDevice

    /// A descriptor of the open device itself. Whoever has it can do to the device all that vfiod can, reset it and be
    /// interrupted by it, and keeps it from being given on.
    func openDevice() async throws(LeaseError) -> SharedDescriptor

    /// Lets the device see memory at `range`. With `patience` it returns when that has passed, even if the memory is not
    /// pinned yet: the device then becomes no bus master before it is, whatever is written to its configuration space, and
    /// none at all if it cannot be.
    func map(
        _ range: DMARange, _ memory: MemoryFile, at offset: UInt64, writable: Bool, patience: Duration?
    ) async throws(LeaseError)

    /// Takes that back; `range` is one that was mapped.
    func unmap(_ range: DMARange) async throws(LeaseError)

    /// Reads a region of the device. What its guest has written to the capabilities of MSI and MSI-X reads as written.
    ///
    /// A long read, as a long write, is made in pieces, between which the session may end.
    func read(region: Int, at offset: UInt64, count: Int) async throws(LeaseError) -> [UInt8]

    /// Writes a region of the device. What of it is for the messages of MSI and MSI-X, and whether they are on, does not
    /// reach the device: its messages are the host's. So nothing is written to a configuration space that does not answer
    /// (EIO), of which is not known where that would be.
    ///
    /// Of a write that throws, pieces may have been made.
    func write(region: Int, at offset: UInt64, _ bytes: [UInt8]) async throws(LeaseError)

    /// How many MSI vectors its guest has last allowed, by what it wrote; nil if the device has no MSI.
    func allowedMSIVectors() async throws(LeaseError) -> Int?

    /// Does something with the interrupts of the device.
    func interrupts<Value: Sendable>(
        _ body: @escaping @Sendable (DeviceInterrupts) throws(InterruptError) -> Value
    ) async throws(LeaseError) -> Value

    /// Resets the device. Its interrupts stay wired.
    func reset() async throws(LeaseError)
}

/// What a device of a session has.
public struct SessionDevice: Hashable, Sendable {
    /// A region of the device's file.
    public struct Region: Hashable, Sendable {
        /// VFIO's index: 0 to 5 for BARs, 6 for the ROM, 7 for configuration space.
        public let index: Int
        /// Where it begins in the device's file.
        public let offset: UInt64
        /// How many bytes it has.
        public let size: UInt64
        /// Whether it can be read.
        public let isReadable: Bool
        /// Whether it can be written.
        public let isWritable: Bool
        /// Whether the kernel would map it, all of it.
        public let isMappable: Bool
        /// What of it may be mapped by whom the messages of MSI-X are no business of, in order.
        public let mappableAreas: [MappableArea]

        /// Creates a region.
        public init(
            index: Int, offset: UInt64, size: UInt64, isReadable: Bool, isWritable: Bool, isMappable: Bool,
            mappableAreas: [MappableArea] = []
        ) {
            (self.index, self.offset, self.size) = (index, offset, size)
            (self.isReadable, self.isWritable, self.isMappable) = (isReadable, isWritable, isMappable)
            self.mappableAreas = mappableAreas
        }
    }

    /// Where it sits.
    public let address: PCIAddress
    /// Whether it can be reset.
    public let canReset: Bool
    /// Its regions, without those it does not have.
    public let regions: [Region]
    /// How many vectors it has of each type, by VFIO.
    public let interrupts: InterruptCounts

    /// Creates a description.
    public init(address: PCIAddress, canReset: Bool, regions: [Region], interrupts: InterruptCounts) {
        (self.address, self.canReset) = (address, canReset)
        (self.regions, self.interrupts) = (regions, interrupts)
    }
}
