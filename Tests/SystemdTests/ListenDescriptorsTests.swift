import LinuxSystem
import Systemd
import Testing

@Suite("Listen descriptors")
struct ListenDescriptorsTests {
    @Test("announced descriptors are taken over with their names, in order")
    func taken() throws {
        // Owned by nobody else, as those that the manager passes.
        let event = try EventFD()
        let first = try event.duplicate().release()
        let taken = try ListenDescriptors(
            count: "1", processID: "42", names: "varlink:more", ownProcessID: 42, first: first
        ).take()
        #expect(taken.map(\.name) == ["varlink"])
        #expect(taken.map(\.descriptor.rawValue) == [first])
    }

    @Test("what is meant for another process, or not there, is left alone")
    func notOurs() throws {
        #expect(try ListenDescriptors(count: nil, processID: nil, names: nil, ownProcessID: 42).take().isEmpty)
        #expect(try ListenDescriptors(count: "1", processID: "43", names: nil, ownProcessID: 42).take().isEmpty)
        #expect(try ListenDescriptors(count: "1", processID: nil, names: nil, ownProcessID: 42).take().isEmpty)
    }

    @Test("a promise that does not hold is an error", arguments: ["-1", "x", "", "99999", "1"])
    func invalid(count: String) {
        #expect(throws: ListenDescriptors.Invalid.self) {
            // No process of the tests has descriptors that high.
            _ = try ListenDescriptors(count: count, processID: "42", names: nil, ownProcessID: 42, first: 1_000_000)
        }
    }
}
