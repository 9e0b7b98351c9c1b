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

    var indices: Indices { Indices(runs: runs) }
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

extension VectorSet {
    /// The vectors, ascending. `joined()` would be as good, but where it is not specialized each of its steps looks up a
    /// type in the runtime, behind one lock for the whole process: many groups at a time then wait for each other.
    struct Indices: Sequence, IteratorProtocol {
        private var runs: ArraySlice<Range<Int>>
        private var run: Range<Int>

        init(runs: [Range<Int>]) {
            self.runs = runs.dropFirst()
            run = runs.first ?? 0..<0
        }

        mutating func next() -> Int? {
            if run.isEmpty {
                guard let next = runs.popFirst() else { return nil }
                run = next
            }
            // No run is empty.
            let index = run.lowerBound
            run = index + 1..<run.upperBound
            return index
        }

        /// The greatest one for which `isMember` holds.
        func last(where isMember: (Int) -> Bool) -> Int? {
            for run in runs.reversed() {
                if let found = run.last(where: isMember) { return found }
            }
            return run.last(where: isMember)
        }
    }
}
