/// A range of addresses that no DMA mapping of an IOMMU group may use (reserved_regions).
public struct IOMMUReservedRegion: Hashable, Sendable {
    /// The first address.
    public let first: UInt64
    /// The last address.
    public let last: UInt64
    /// Why, in the kernel's word: `direct` (firmware demands it mapped as it is), `direct-relaxable`, `msi` or
    /// `reserved`.
    public let kind: String

    /// Creates a region.
    public init(first: UInt64, last: UInt64, kind: String) {
        (self.first, self.last, self.kind) = (first, last, kind)
    }

    /// Reads a line `FIRST LAST KIND`; nil for anything else.
    init?(_ line: Substring) {
        let fields = line.split(separator: " ")
        guard fields.count == 3, fields[0].hasPrefix("0x"), fields[1].hasPrefix("0x"),
            let first = UInt64(fields[0].dropFirst(2), radix: 16), let last = UInt64(fields[1].dropFirst(2), radix: 16),
            first <= last
        else { return nil }
        self.init(first: first, last: last, kind: String(fields[2]))
    }
}
