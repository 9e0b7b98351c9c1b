import LinuxSystem
import Synchronization
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

    @Test("A lane runs one job at a time") func serial() async throws {
        let lane = try BlockingLane(name: "a name longer than fifteen bytes")
        let running = Mutex(0)
        let most = Mutex(0)
        await withTaskGroup(of: Void.self) { group in
            for _ in 0..<50 {
                group.addTask {
                    await lane.run {
                        let now = running.withLock { value in
                            value += 1
                            return value
                        }
                        most.withLock { $0 = max($0, now) }
                        running.withLock { $0 -= 1 }
                    }
                }
            }
        }
        #expect(most.withLock { $0 } == 1)
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
