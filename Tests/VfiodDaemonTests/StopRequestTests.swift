import Testing

@testable import VfiodDaemon

@Suite("Stop points that are asked for")
struct StopRequestTests {
    @Test("Without a request there is none") func nothing() throws {
        #expect(try StopRequest(at: nil, by: nil) == nil)
        #expect(try StopRequest(at: nil, by: "hang") == nil)
    }

    @Test(
        "What is read",
        arguments: [
            "none", "bind:unbind:before@0000:00:11.0",
            "bind:forget:after@0000:00:11.0,restore:probe:before@0000:03:03.0",
        ])
    func read(text: String) throws {
        for way in [nil, "kill", "hang"] { #expect(try StopRequest(at: text, by: way) != nil) }
    }

    @Test(
        "What vfiod does not start with",
        arguments: [
            "", ",", "bind", "none,none", "bind:unbind:before@0000:00:11.0,", "bind:unbinds:before@0000:00:11.0",
        ])
    func refused(text: String) {
        #expect(throws: StartupError.self) { try StopRequest(at: text, by: nil) }
    }

    @Test("A way that is none") func way() {
        #expect(throws: StartupError.self) { try StopRequest(at: "none", by: "exit") }
    }
}
