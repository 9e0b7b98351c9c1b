/// Where one of the two structures of MSI-X stands: the table, or the pending bits (PCI 3.0 section 6.8.2).
public struct MSIXStructure: Hashable, Sendable {
    /// The BAR, 0 to 5.
    public let bar: Int
    /// From the BAR's begin, bytes, a multiple of 8.
    public let offset: UInt64
    /// Bytes: at most 32 KiB.
    public let size: UInt64

    /// Creates a place.
    public init(bar: Int, offset: UInt64, size: UInt64) {
        (self.bar, self.offset, self.size) = (bar, offset, size)
    }
}

extension ConfigSpace {
    private static let entrySize: UInt64 = 16

    /// The table and the pending bits of MSI-X; none without the capability. The BAR numbers 6 and 7 are reserved and
    /// name nothing.
    public var msixStructures: [MSIXStructure] {
        guard let capability = capabilities.first(where: { $0.id == .msix }) else { return [] }
        let vectors = UInt64(msixVectors)
        let places = [
            (register: 4, size: vectors * ConfigSpace.entrySize), (register: 8, size: (vectors + 63) / 64 * 8),
        ]
        return places.compactMap { register, size in
            guard let place = long(at: capability.offset + register), place & 7 <= 5 else { return nil }
            return MSIXStructure(bar: Int(place & 7), offset: UInt64(place & ~7), size: size)
        }
    }
}
