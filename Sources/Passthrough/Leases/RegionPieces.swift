/// The pieces in which a long access to a region is made, each a turn of its own on the device's lane.
///
/// In one turn, a device that answers slowly would keep the end of its session waiting for as long as all of it takes.
struct RegionPieces: Sequence, IteratorProtocol {
    /// The longest piece, bytes. Pieces end at its multiples, so that no aligned access of a guest is cut in two, and
    /// configuration space, which has no more than that, stays whole.
    static let size: UInt64 = 4096

    private var position: UInt64
    private let end: UInt64

    /// Those of `count` bytes at `offset`. Nil for none, and for bytes that no region can have.
    init?(of count: Int, at offset: UInt64) {
        let (end, overflows) = offset.addingReportingOverflow(UInt64(clamping: count))
        guard count > 0, !overflows else { return nil }
        (position, self.end) = (offset, end)
    }

    /// The next one: from where to where.
    mutating func next() -> Range<UInt64>? {
        guard position < end else { return nil }
        let length = Swift.min(RegionPieces.size - position % RegionPieces.size, end - position)
        defer { position += length }
        return position..<position + length
    }
}
