internal import PCI

/// A part of a region that whoever drives the device may map: whole pages, without any on which a structure of MSI-X
/// stands.
///
/// The kernel maps those pages too (VFIO_REGION_INFO_CAP_MSIX_MAPPABLE), and gives whoever writes there the host's own
/// messages in his hand.
public struct MappableArea: Hashable, Sendable {
    /// From the region's begin, bytes.
    public let offset: UInt64
    /// Bytes.
    public let size: UInt64

    /// Creates an area.
    public init(offset: UInt64, size: UInt64) { (self.offset, self.size) = (offset, size) }

    /// The areas of BAR `bar` of `size` bytes, in order.
    static func areas(ofBAR bar: Int, size: UInt64, around structures: [MSIXStructure]) -> [MappableArea] {
        let page = DMARange.pageSize
        let taken = structures.filter { $0.bar == bar && $0.size > 0 }.map { structure in
            (
                first: structure.offset / page * page,
                end: (structure.offset + structure.size + page - 1) / page * page
            )
        }.sorted { $0.first < $1.first }
        var areas: [MappableArea] = []
        var begin: UInt64 = 0
        let end = size / page * page
        for hole in taken where begin < end {
            let stop = min(hole.first, end)
            if stop > begin { areas.append(MappableArea(offset: begin, size: stop - begin)) }
            begin = max(begin, hole.end)
        }
        if begin < end { areas.append(MappableArea(offset: begin, size: end - begin)) }
        return areas
    }
}
