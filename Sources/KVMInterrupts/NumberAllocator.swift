/// Hands out consecutive interrupt numbers of one virtual machine, lowest first.
struct NumberAllocator: Sendable {
    /// What is free, ascending and never touching.
    private var free: [Range<Int>]

    init(_ numbers: Range<Int>, except taken: Set<Int>) {
        free = []
        for number in numbers where !taken.contains(number) { give(number..<number + 1) }
    }

    /// The most numbers that ``take(_:)`` would give.
    var largest: Int { free.map(\.count).max() ?? 0 }

    /// Takes `count` consecutive numbers; nil if there are none.
    mutating func take(_ count: Int) -> Range<Int>? {
        guard count > 0, let index = free.firstIndex(where: { $0.count >= count }) else { return nil }
        let run = free[index]
        let taken = run.lowerBound..<run.lowerBound + count
        if taken == run {
            free.remove(at: index)
        } else {
            free[index] = taken.upperBound..<run.upperBound
        }
        return taken
    }

    /// Gives numbers back that were taken.
    mutating func give(_ numbers: Range<Int>) {
        if numbers.isEmpty { return }
        var run = numbers
        let index = free.firstIndex { $0.lowerBound >= run.upperBound } ?? free.count
        if index < free.count, free[index].lowerBound == run.upperBound {
            run = run.lowerBound..<free.remove(at: index).upperBound
        }
        if index > 0, free[index - 1].upperBound == run.lowerBound {
            free[index - 1] = free[index - 1].lowerBound..<run.upperBound
        } else {
            free.insert(run, at: index)
        }
    }
}
