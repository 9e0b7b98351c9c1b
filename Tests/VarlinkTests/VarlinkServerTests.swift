import LinuxSystem
import TestSupport
import Testing
import Varlink

@Suite("Varlink server")
struct VarlinkServerTests {
    private static let echo = "{\"method\":\"org.example.test.Echo\",\"parameters\":{\"text\":\"hi\"}}"
    private static let echoed = "{\"parameters\":{\"text\":\"hi\"}}"

    private func exchange(_ message: String, _ fixture: Fixture) async throws -> String {
        let client = try fixture.connect()
        try await client.send(message + "\0")
        return try await client.read(1).first ?? "closed"
    }

    @Test("a call is answered, and a half-closed connection too, in lines for people")
    func callAndLines() async throws {
        let fixture = try await Fixture()
        #expect(try await exchange(Self.echo, fixture) == Self.echoed)
        let person = try fixture.connect()
        try await person.send(Self.echo + "\n")
        try person.endSending()
        #expect(try await person.readAll() == Self.echoed + "\n")
        let terse = try fixture.connect()
        try await terse.send(Self.echo)
        try terse.endSending()
        #expect(try await terse.readAll() == Self.echoed + "\n")
    }

    @Test("pipelined calls are answered in their order, also when sent byte by byte")
    func pipelining() async throws {
        let fixture = try await Fixture()
        let calls = (0..<50).map { "{\"method\":\"org.example.test.Sum\",\"parameters\":{\"count\":\($0)}}\0" }
        let client = try fixture.connect()
        try await client.send(calls.joined())
        #expect(try await client.read(50) == (0..<50).map { "{\"parameters\":{\"count\":\($0)}}" })
        for byte in calls[7].utf8 { try await client.send([byte]) }
        #expect(try await client.read(1) == ["{\"parameters\":{\"count\":7}}"])
    }

    @Test("more streams in order and ends; without more there is one reply")
    func streaming() async throws {
        let fixture = try await Fixture()
        let (seen, single) = try await blocking { [path = fixture.path] in
            var client = try VarlinkClient(path: path)
            var seen: [Int?] = []
            try client.stream("org.example.test.Count", Fixture.Numbers(count: 100), as: Fixture.Numbers.self) {
                seen.append($0.count)
            }
            let method = "org.example.test.Count"
            return (seen, try client.call(method, Fixture.Numbers(count: 5), as: Fixture.Numbers.self))
        }
        #expect(seen == Array(0...100))
        #expect(single.count == 5)
    }

    @Test("a oneway call is carried out without a reply")
    func oneway() async throws {
        let fixture = try await Fixture()
        let client = try fixture.connect()
        let silent = Self.echo.dropLast() + ",\"oneway\":true}\0"
        try await client.send(silent + "{\"method\":\"org.example.test.Sum\"}\0")
        #expect(try await client.read(1) == ["{\"parameters\":{\"count\":0}}"])
        #expect(fixture.calls.all == ["hi"])
    }

    @Test(
        "parameters are taken strictly, and the error names the wrong one",
        arguments: [
            ("{\"text\":1}", "text"), ("{}", "text"), ("null", "text"), ("{\"text\":null}", "text"),
            ("{\"text\":\"a\",\"other\":1}", "other"), ("{\"Text\":\"a\"}", "Text"),
        ])
    func strictParameters(parameters: String, wrong: String) async throws {
        let fixture = try await Fixture()
        let reply = try await exchange("{\"method\":\"org.example.test.Echo\",\"parameters\":\(parameters)}", fixture)
        #expect(
            reply == "{\"error\":\"org.varlink.service.InvalidParameter\",\"parameters\":{\"parameter\":\"\(wrong)\"}}")
        #expect(fixture.calls.all.isEmpty)
    }

    @Test(
        "numbers that do not fit are a wrong parameter, not a trap",
        arguments: ["1e400", "9223372036854775808", "-9223372036854775809", "0.5", "\"1\"", "true", "[]"])
    func hugeNumbers(number: String) async throws {
        let fixture = try await Fixture()
        let direct = try await exchange(
            "{\"method\":\"org.example.test.Sum\",\"parameters\":{\"count\":\(number)}}", fixture)
        #expect(direct.contains("InvalidParameter") && direct.contains("\"count\""))
        let listed = try await exchange(
            "{\"method\":\"org.example.test.Sum\",\"parameters\":{\"list\":[1,\(number)]}}", fixture)
        #expect(listed.contains("InvalidParameter") && listed.contains("\"list\""))
    }

    @Test("missing parameters, null and an empty object mean the same")
    func emptyParameters() async throws {
        let fixture = try await Fixture()
        for parameters in ["", ",\"parameters\":null", ",\"parameters\":{}"] {
            #expect(
                try await exchange("{\"method\":\"org.example.test.Sum\"\(parameters)}", fixture)
                    == "{\"parameters\":{\"count\":0}}")
        }
    }

    @Test("what is not there is named by the standard errors")
    func standardErrors() async throws {
        let fixture = try await Fixture()
        #expect(try await exchange("{\"method\":\"org.example.no.Echo\"}", fixture).contains("InterfaceNotFound"))
        #expect(try await exchange("{\"method\":\"org.example.test.No\"}", fixture).contains("MethodNotFound"))
        #expect(try await exchange("{\"method\":\"Echo\"}", fixture).contains("MethodNotFound"))
        #expect(try await exchange("{\"method\":\"\"}", fixture).contains("MethodNotFound"))
        #expect(
            try await exchange("{\"method\":\"org.example.test.Missing\"}", fixture).contains("MethodNotImplemented"))
        #expect(
            try await exchange("{\"method\":\"org.example.test.Fail\"}", fixture)
                == "{\"error\":\"org.example.test.Failed\",\"parameters\":{\"text\":\"as asked\"}}")
    }

    @Test("the service tells of itself and its interfaces")
    func introspection() async throws {
        let fixture = try await Fixture()
        struct Name: Codable { var interface: String }
        struct Description: Codable { var description: String }
        let path = fixture.path
        let info = try await blocking {
            var client = try VarlinkClient(path: path)
            return try client.call(
                "org.varlink.service.GetInfo", NoParameters(), as: VarlinkService.Information.self)
        }
        #expect(info.interfaces == ["org.varlink.service", "org.example.test"])
        let method = "org.varlink.service.GetInterfaceDescription"
        for interface in info.interfaces {
            let text = try await blocking {
                var client = try VarlinkClient(path: path)
                return try client.call(method, Name(interface: interface), as: Description.self).description
            }
            #expect(try InterfaceDescription(parsing: text).name == interface)
        }
        let error = await #expect(throws: VarlinkClientError.self) {
            try await blocking {
                var client = try VarlinkClient(path: path)
                _ = try client.call(method, Name(interface: "no.such"), as: Description.self)
            }
        }
        guard case .refused(let refusal) = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(refusal.name == "org.varlink.service.InterfaceNotFound")
        #expect(refusal.parameters(as: Name.self)?.interface == "no.such")
    }

    @Test(
        "a message that is no call gets one error and ends the connection",
        arguments: [
            "[]", "1", "\"x\"", "{", "{\"method\":1}", "{}", "{\"method\":\"a.B\",\"id\":1}",
            "{\"method\":\"a.B\",\"more\":1}", "{\"method\":\"a.B\",\"more\":true,\"oneway\":true}",
            "{\"method\":\"a.B\",\"upgrade\":true}", "{\"method\":\"a.B\",\"parameters\":[]}",
            "{\"method\":\"a.B\",\"parameters\":\"x\"}", "{\"method\":\"a.B\"}}", "{\"method\":\"a.B\",}",
            "{\"method\":\"a.B\",\"method\":\"a.B\"}",
            "{\"method\":\"a.B\",\"m\\u0065thod\":\"c.D\"}", "{\"method\":\"a.B\",\"parameters\":{\"n\":01}}",
            "{\"method\":\"a.B\",\"parameters\":{\"n\":[1,]}}", "{\"method\":\"\\ud800\"}", "\u{FEFF}{",
        ])
    func malformed(message: String) async throws {
        let fixture = try await Fixture()
        let client = try fixture.connect()
        try await client.send(Self.echo + "\0" + message + "\0" + Self.echo + "\0")
        let all = try await client.readAll().split(separator: "\0")
        #expect(all.count == 2)
        #expect(all.first.map(String.init) == Self.echoed)
        #expect(all.last?.hasPrefix("{\"error\":\"org.example.test.Broken\"") == true)
    }

    @Test("a message of 10 MB gets its error while it is still being sent, and the server goes on")
    func oversized() async throws {
        let fixture = try await Fixture()
        let client = try fixture.connect()
        try await client.send([UInt8](repeating: UInt8(ascii: "x"), count: 10 << 20) + [0])
        #expect(try await client.readAll().contains("longer than 1048576 bytes"))
        #expect(try await exchange(Self.echo, fixture) == Self.echoed)
    }

    @Test("descriptors with a call end the connection with a reason")
    func descriptors() async throws {
        let fixture = try await Fixture()
        let client = try fixture.connect()
        let passed = SharedDescriptor(try openFile("/dev/null", .readOnly))
        try await client.send(Array((Self.echo + "\0").utf8), descriptors: [passed])
        #expect(try await client.readAll().contains("descriptors came with the message"))
        #expect(fixture.calls.all.isEmpty)
    }

    @Test("half a message and then nothing is an error, not a wait")
    func halfMessage() async throws {
        let fixture = try await Fixture()
        let client = try fixture.connect()
        try await client.send(String(Self.echo.dropLast(3)))
        try client.endSending()
        #expect(try await client.readAll().contains("ended inside a message"))
    }

    @Test("hostile bytes never bring the server down", arguments: 0..<16)
    func fuzz(seed: UInt64) async throws {
        let fixture = try await Fixture()
        var random = SplitMix64(seed: seed)
        let base = Array((Self.echo + "\0").utf8)
        for _ in 0..<12 {
            var bytes = base + base
            for _ in 0..<(1 + random.next() % 6) {
                let position = Int(random.next() % UInt64(bytes.count))
                switch random.next() % 4 {
                case 0: bytes[position] = UInt8(truncatingIfNeeded: random.next())
                case 1: bytes.removeSubrange(position...)
                case 2: bytes.insert(contentsOf: base.prefix(position), at: position)
                default: bytes.insert(UInt8(truncatingIfNeeded: random.next()), at: position)
                }
                if bytes.isEmpty { bytes = [0] }
            }
            let client = try fixture.connect()
            // A server that has seen enough may close while we still send.
            try? await client.send(bytes)
            try? client.endSending()
            _ = try? await client.readAll()
        }
        #expect(try await exchange(Self.echo, fixture) == Self.echoed)
    }
}
