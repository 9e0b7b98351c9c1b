import InterruptSources
import LinuxSystem
import Testing

/// A device that raises freely on a thread of its own, while another thread calls its groups.
@Suite("Races with a raising device")
struct RaceTests {
    static let schedules = 0..<20 as Range<UInt64>
    /// With the last one of each vector, 100,000 raises in all.
    static let rounds: UInt64 = 50
    static let raisesOfRound = 100

    @Test(
        "T5: an event racing mask, unmask, update, disable and switch is neither lost nor invented",
        arguments: schedules)
    func random(_ seed: UInt64) async throws {
        let race = try Race(seed: seed)
        let raiser = try BlockingLane(name: "raiser")
        let caller = try BlockingLane(name: "caller")
        for round in 0..<RaceTests.rounds {
            race.begin()
            async let raised: Void = raiser.run { race.raise(seed: seed << 32 | round, RaceTests.raisesOfRound) }
            try await caller.run { () throws(Difference) in try race.call(seed: ~(seed << 32 | round)) }
            await raised
            try race.settle()
        }
        try race.finish()
    }
}
