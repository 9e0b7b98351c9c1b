public import LinuxSystem
public import SystemPackage

/// What a server session drives. A session makes one call at a time. What throws has changed nothing, unless it says
/// otherwise.
public protocol VFIOUserDevice: Sendable {
    /// What the device has.
    func describe() async throws(Errno) -> VFIOUserDeviceDescription

    /// What the client maps those regions from that have a ``VFIOUserDeviceDescription/Mapping``.
    func descriptor() async throws(Errno) -> SharedDescriptor

    /// Reads `count` bytes of a region, all of which it has.
    func read(_ access: VFIOUserAccess, count: Int) async throws(Errno) -> [UInt8]

    /// Writes bytes of a region, all of which it has. What throws may have written some of them.
    func write(_ bytes: [UInt8], _ access: VFIOUserAccess) async throws(Errno)

    /// Lets the device see memory at `iova`: `size` bytes from `offset` of the memory that came along.
    func map(
        iova: UInt64, size: UInt64, _ memory: ReceivedDescriptors?, at offset: UInt64, isWritable: Bool
    ) async throws(Errno)

    /// Takes back all that lies within the range, which must cut no mapping in two; nil for all that there is. A mapping
    /// that cannot be taken back stays, the others go, and the first error is thrown.
    func unmap(_ range: (iova: UInt64, size: UInt64)?) async throws(Errno)

    /// Wires interrupts. `eventfds` came along. What throws leaves the type on that was on, with what is pending; of a range
    /// of vectors, some may be as asked.
    func setIRQs(_ request: VFIOUserSetIRQs, _ eventfds: ReceivedDescriptors?) async throws(Errno)

    /// Resets the device.
    func reset() async throws(Errno)
}

/// What a device has, as VFIO describes it (linux/vfio.h).
public struct VFIOUserDeviceDescription: Hashable, Sendable {
    /// What of a region the client may map, from ``VFIOUserDevice/descriptor()``.
    public struct Mapping: Hashable, Sendable {
        /// A part of a region: whole pages.
        public struct Area: Hashable, Sendable {
            /// From the region's begin, bytes.
            public let offset: UInt64
            /// Bytes.
            public let size: UInt64

            /// Creates an area.
            public init(offset: UInt64, size: UInt64) { (self.offset, self.size) = (offset, size) }
        }

        /// Where the region begins in the descriptor's file.
        public let fileOffset: UInt64
        /// In order, none touching another.
        public let areas: [Area]

        /// Creates a mapping.
        public init(fileOffset: UInt64, areas: [Area]) { (self.fileOffset, self.areas) = (fileOffset, areas) }
    }

    /// A region of it. One that it does not have has size 0.
    public struct Region: Hashable, Sendable {
        /// Bytes.
        public var size: UInt64
        /// Whether it can be read.
        public var isReadable: Bool
        /// Whether it can be written.
        public var isWritable: Bool
        /// How the client maps it; nil if it does not.
        public var mapping: Mapping?

        /// Creates a region.
        public init(
            size: UInt64 = 0, isReadable: Bool = false, isWritable: Bool = false, mapping: Mapping? = nil
        ) {
            (self.size, self.isReadable, self.isWritable) = (size, isReadable, isWritable)
            self.mapping = mapping
        }

        /// Whether all of `count` bytes at `offset` are in it.
        func contains(_ offset: UInt64, _ count: Int) -> Bool {
            let (end, overflows) = offset.addingReportingOverflow(UInt64(clamping: count))
            return !overflows && end <= size
        }
    }

    /// An interrupt index of it. One that it does not have has count 0.
    public struct IRQ: Hashable, Sendable {
        /// How many interrupts.
        public var count: UInt32
        /// VFIO_IRQ_INFO_MASKABLE.
        public var isMaskable: Bool
        /// VFIO_IRQ_INFO_AUTOMASKED.
        public var isAutomasked: Bool
        /// Clear VFIO_IRQ_INFO_NORESIZE.
        public var isResizable: Bool

        /// Creates an index.
        public init(
            count: UInt32 = 0, isMaskable: Bool = false, isAutomasked: Bool = false, isResizable: Bool = false
        ) {
            (self.count, self.isMaskable) = (count, isMaskable)
            (self.isAutomasked, self.isResizable) = (isAutomasked, isResizable)
        }
    }

    /// Whether it can be reset.
    public var canReset: Bool
    /// By index; those of VFIO_PCI_NUM_REGIONS.
    public var regions: [Region]
    /// By index; those of VFIO_PCI_NUM_IRQS.
    public var irqs: [IRQ]

    /// Creates a description.
    public init(canReset: Bool, regions: [Region], irqs: [IRQ]) {
        (self.canReset, self.regions, self.irqs) = (canReset, regions, irqs)
    }
}
