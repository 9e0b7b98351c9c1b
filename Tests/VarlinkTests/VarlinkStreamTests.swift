import LinuxSystem
import TestSupport
import Testing
import Varlink

@Suite("Varlink methods that go on sending")
struct VarlinkStreamTests {
    /// A reply with it is more than a socket takes.
    private static let tooLong = Array(0..<100_000)

    private func follow(_ count: Int, more: Bool = true, list: [Int] = []) -> String {
        let parameters = "{\"count\":\(count),\"list\":\(list)}"
        return "{\"method\":\"org.example.test.Follow\",\"more\":\(more),\"parameters\":\(parameters)}\0"
    }

    @Test("without more they are refused, and nothing is begun")
    func withoutMore() async throws {
        let fixture = try await Fixture()
        let client = try fixture.connect()
        try await client.send(follow(3, more: false))
        #expect(try await client.read(1).first?.contains("org.varlink.service.ExpectedMore") == true)
        #expect(fixture.calls.all.isEmpty)
    }

    @Test("a client that reads slowly slows the stream down, and is not dropped")
    func slowReader() async throws {
        var limits = VarlinkServer.Limits()
        limits.unsentBytesPaused = 1 << 12
        limits.unsentBytes = 1 << 14
        let fixture = try await Fixture(limits: limits)
        let client = try fixture.connect()
        let list = Array(0..<2000)
        try await client.send(follow(500, list: list))
        // As many as the socket takes, and one that waits; the count stays so until the client reads.
        while fixture.calls.all.isEmpty { await Task.yield() }
        let other = try fixture.connect()
        try await other.send("{\"method\":\"org.example.test.Echo\",\"parameters\":{\"text\":\"hi\"}}\0")
        #expect(try await other.read(1).count == 1)
        #expect(fixture.calls.all.count < 500)
        let replies = try await client.read(500)
        #expect(replies.count == 500)
        #expect(replies.last?.contains("\"count\":499") == true)
        #expect(fixture.calls.all.count { $0 != "hi" } == 500)
    }

    @Test("it ends at once when its client has gone, whether it waits for something to tell or for the client to read")
    func goneClient() async throws {
        let fixture = try await Fixture()
        for list in [[], Self.tooLong] {
            let ended = fixture.calls.all.count { $0 == "cancelled" }
            do {
                let client = try fixture.connect()
                try await client.send(follow(500, list: list))
                if list.isEmpty {
                    #expect(try await client.read(500).count == 500)
                } else {
                    while fixture.calls.all.last != "0" { await Task.yield() }
                }
            }
            while fixture.calls.all.count(where: { $0 == "cancelled" }) == ended { await Task.yield() }
            while await fixture.server.connectionCount > 0 { await Task.yield() }
        }
    }

    @Test("a client that only says that it sends nothing more is told on")
    func halfClosed() async throws {
        let fixture = try await Fixture()
        let client = try fixture.connect()
        try await client.send(follow(3))
        try client.endSending()
        #expect(try await client.read(3).count == 3)
        #expect(await fixture.server.connectionCount == 1)
        #expect(!fixture.calls.all.contains("cancelled"))
        _ = await fixture.server.stop(within: .seconds(60))
    }

    @Test("a stop ends it with its error, and waits for no client that does not read")
    func stop() async throws {
        let fixture = try await Fixture()
        let reader = try fixture.connect()
        let stuck = try fixture.connect()
        try await reader.send(follow(1))
        #expect(try await reader.read(1).count == 1)
        try await stuck.send(follow(500, list: Self.tooLong))
        // Its first reply is on its way, and more than a socket holds.
        #expect(try await stuck.readByte().count == 1)
        #expect(await fixture.server.stop(within: .seconds(3600)))
        #expect(try await reader.readAll().contains("org.example.test.Failed"))
        #expect(!(try await stuck.readAll().contains("org.example.test.Failed")))
    }
}
