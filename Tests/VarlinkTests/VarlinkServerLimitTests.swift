import LinuxSystem
import TestSupport
import Testing
import Varlink

@Suite("Varlink server under load")
struct VarlinkServerLimitTests {
    private static let echo = "{\"method\":\"org.example.test.Echo\",\"parameters\":{\"text\":\"hi\"}}\0"
    private static let wait = "{\"method\":\"org.example.test.Wait\",\"parameters\":{\"text\":\"slow\"}}\0"

    @Test("a client whose call takes long holds up no other")
    func slowCall() async throws {
        let fixture = try await Fixture()
        let slow = try fixture.connect()
        try await slow.send(Self.wait + Self.echo)
        await fixture.gate.someoneArrived()
        let fast = try fixture.connect()
        try await fast.send(Self.echo)
        #expect(try await fast.read(1).count == 1)
        await fixture.gate.letOne()
        #expect(try await slow.read(2).first?.contains("slow") == true)
    }

    @Test("what a client started goes on after it has gone")
    func goneClient() async throws {
        let fixture = try await Fixture()
        do {
            let client = try fixture.connect()
            try await client.send(Self.wait)
            await fixture.gate.someoneArrived()
        }
        await fixture.gate.letOne()
        while fixture.calls.all.isEmpty { await Task.yield() }
        #expect(fixture.calls.all == ["slow"])
        while await fixture.server.connectionCount > 0 { await Task.yield() }
    }

    @Test("a client that does not read its stream is dropped, and only that one")
    func slowReader() async throws {
        var limits = VarlinkServer.Limits()
        limits.unsentBytesPaused = 1 << 12
        limits.unsentBytes = 1 << 16
        let fixture = try await Fixture(limits: limits)
        let client = try fixture.connect()
        let list = (0..<200).map(String.init).joined(separator: ",")
        let parameters = "{\"count\":5000,\"list\":[\(list)]}"
        try await client.send("{\"method\":\"org.example.test.Count\",\"more\":true,\"parameters\":\(parameters)}\0")
        var dropped = false
        for await event in fixture.events {
            if case .dropped = event {
                dropped = true
                break
            }
        }
        #expect(dropped)
        let other = try fixture.connect()
        try await other.send(Self.echo)
        #expect(try await other.read(1).count == 1)
        // Until the stream that goes nowhere has ended, so that it does not outlive its loop.
        while await fixture.server.connectionCount > 1 { await Task.yield() }
    }

    @Test("replies that wait unread hold back further calls instead of dropping the client")
    func backPressure() async throws {
        var limits = VarlinkServer.Limits()
        limits.unsentBytesPaused = 1 << 12
        limits.unsentBytes = 1 << 14
        limits.waitingCalls = 2
        let fixture = try await Fixture(limits: limits)
        let client = try fixture.connect()
        let text = String(repeating: "x", count: 8000)
        let call = "{\"method\":\"org.example.test.Echo\",\"parameters\":{\"text\":\"\(text)\"}}\0"
        // Calls and replies are more than the sockets hold, so the sender waits until replies are read.
        async let sent: Void = client.send(String(repeating: call, count: 200))
        while fixture.calls.all.count < 10 { await Task.yield() }
        #expect(try await client.read(200).count == 200)
        try await sent
    }

    @Test("connections over the limit are turned away with a reason, and there is room again when one goes")
    func tooManyConnections() async throws {
        var limits = VarlinkServer.Limits()
        limits.connections = 3
        limits.connectionsPerUser = 2
        let fixture = try await Fixture(limits: limits)
        let first = try fixture.connect()
        try await first.send(Self.echo)
        #expect(try await first.read(1).count == 1)
        do {
            let second = try fixture.connect()
            try await second.send(Self.echo)
            #expect(try await second.read(1).count == 1)
            let third = try fixture.connect()
            #expect(try await third.readAll().contains("too many connections of user"))
        }
        while await fixture.server.connectionCount > 1 { await Task.yield() }
        let fourth = try fixture.connect()
        try await fourth.send(Self.echo)
        #expect(try await fourth.read(1).count == 1)
    }

    @Test("a stop waits for what runs, and answers it")
    func stopWaits() async throws {
        let fixture = try await Fixture()
        let client = try fixture.connect()
        try await client.send(Self.wait + Self.echo)
        await fixture.gate.someoneArrived()
        async let stopped = fixture.server.stop(within: .seconds(60))
        await fixture.gate.letOne()
        #expect(await stopped)
        #expect(try await client.readAll().contains("slow"))
        #expect(throws: KernelError.self) { _ = try fixture.connect() }
    }

    @Test("a stop gives up at its deadline and says so")
    func stopDeadline() async throws {
        let fixture = try await Fixture()
        let client = try fixture.connect()
        try await client.send(Self.wait)
        await fixture.gate.someoneArrived()
        #expect(await !fixture.server.stop(within: .milliseconds(1)))
        #expect(try await client.readAll().isEmpty)
        await fixture.gate.letOne()
    }
}
