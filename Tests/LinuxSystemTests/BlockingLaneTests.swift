import LinuxSystem
import Testing

@Suite("Blocking lane") struct BlockingLaneTests {
    struct Refusal: Error, Equatable {}

    @Test("A lane returns and throws what its job does") func resultsAndErrors() async throws {
        let lane = try BlockingLane(name: "lane")
        #expect(await lane.run { 42 } == 42)
        await #expect(throws: Refusal()) {
            try await lane.run { () throws(Refusal) -> Int in throw Refusal() }
        }
        #expect(await lane.run { 43 } == 43)
    }

    /// How many jobs run now, and the most that ever did.
    private final class Gauge: Sendable {
        private let counts = Lock((now: 0, most: 0))

        var most: Int { counts.withLock { $0.most } }

        func enter() {
            counts.withLock { counts in
                counts.now += 1
                counts.most = max(counts.most, counts.now)
            }
        }

        func leave() { counts.withLock { $0.now -= 1 } }
    }

    @Test("A lane runs one job at a time") func serial() async throws {
        let lane = try BlockingLane(name: "a name longer than fifteen bytes")
        let gauge = Gauge()
        await withTaskGroup(of: Void.self) { group in
            for _ in 0..<50 {
                group.addTask {
                    await lane.run {
                        gauge.enter()
                        gauge.leave()
                    }
                }
            }
        }
        #expect(gauge.most == 1)
    }

    @Test("A blocked lane does not hold up another") func independent() async throws {
        let blocked = try BlockingLane(name: "blocked")
        let free = try BlockingLane(name: "free")
        let gate = try EventFD()
        async let held: Int = blocked.run {
            gate.wait()
            return 1
        }
        #expect(await free.run { 2 } == 2)
        try gate.signal()
        #expect(await held == 1)
    }
}
