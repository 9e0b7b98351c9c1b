/// Vectors of one group, as ascending ranges that do not touch: what a batch costs beside the kernel's work depends on
/// how many ranges it has, and each range is one call for the host.
struct VectorSet: Sendable {
    private(set) var runs: [Range<Int>] = []

    /// These vectors.
    init(_ range: Range<Int>) {
        if !range.isEmpty { runs = [range] }
    }

    /// These vectors.
    init(_ set: RangeSet<Int>) {
        runs = Array(set.ranges)
    }

    /// The vectors of `range` for which `isMember` holds.
    init(in range: Range<Int>, where isMember: (Int) -> Bool) {
        for index in range where isMember(index) { append(index) }
    }

    /// Those of `other` for which `isMember` holds.
    init(in other: VectorSet, where isMember: (Int) -> Bool) {
        for index in other.indices where isMember(index) { append(index) }
    }

    var indices: FlattenSequence<[Range<Int>]> { runs.joined() }
    var isEmpty: Bool { runs.isEmpty }
    var count: Int { runs.reduce(0) { $0 + $1.count } }

    private mutating func append(_ index: Int) {
        if let last = runs.last, last.upperBound == index {
            runs[runs.count - 1] = last.lowerBound..<index + 1
        } else {
            runs.append(index..<index + 1)
        }
    }
}
