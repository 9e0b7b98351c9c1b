internal import LinuxSystem

/// One operation of a scenario, measured on both sides in turn.
struct Measurement {
    let scenario: Scenario
    let operation: Operation
    /// Nanoseconds; element i of both was measured in the same round.
    let floor: [UInt64]
    let ours: [UInt64]
    let floorRequests: Int
    let ourRequests: Int

    var floorMedian: Double { Measurement.quantile(0.5, of: floor.map { Double($0) }) }
    var ourMedian: Double { Measurement.quantile(0.5, of: ours.map { Double($0) }) }

    /// Our median as a multiple of the floor's.
    var ratio: Double { ourMedian / floorMedian }

    /// The middle half of the rounds' own ratios.
    var spread: (low: Double, high: Double) {
        let ratios = zip(ours, floor).map { Double($0) / Double(max($1, 1)) }
        return (Measurement.quantile(0.25, of: ratios), Measurement.quantile(0.75, of: ratios))
    }

    private static func quantile(_ fraction: Double, of values: [Double]) -> Double {
        let sorted = values.sorted()
        guard let last = sorted.indices.last else { return .nan }
        return sorted[Int((Double(last) * fraction).rounded())]
    }
}

extension Scenario {
    /// Runs both sides in turn, the first one first in every other round, for about 15 seconds at most. The first round is
    /// not counted, unless it is the only one.
    func measure(_ floor: inout FloorSide, _ ours: inout GroupSide, rounds: Int) throws -> [Measurement] {
        var (floorTimes, ourTimes) = (Stopwatch(), Stopwatch())
        let deadline = monotonicNanoseconds(after: .seconds(15))
        for round in 0...rounds where round < 4 || monotonicNanoseconds() < deadline {
            if round == 1 { (floorTimes, ourTimes) = (Stopwatch(), Stopwatch()) }
            if round.isMultiple(of: 2) {
                try run(&floor, &floorTimes)
                try run(&ours, &ourTimes)
            } else {
                try run(&ours, &ourTimes)
                try run(&floor, &floorTimes)
            }
        }
        return ourTimes.order.map { operation in
            Measurement(
                scenario: self, operation: operation, floor: floorTimes.times[operation] ?? [],
                ours: ourTimes.times[operation] ?? [], floorRequests: floorTimes.requests[operation] ?? 0,
                ourRequests: ourTimes.requests[operation] ?? 0)
        }
    }
}
