import GuestLibrary
import InterruptSources
import LinuxSystem
import TestSupport
import Testing

@Suite("Joining received notifiers to a machine")
struct NotifierRelayTests {
    private func joints(_ count: Int) throws -> [NotifierRelay.Joint] {
        try (0..<count).map { index in
            NotifierRelay.Joint(
                try EventFD(), InterruptMessage(address: 0xfee0_0000, data: 32 + UInt32(index)))
        }
    }

    @Test("up: one table for the batch, then the irqfds; down: the irqfds, then one table")
    func order() throws {
        let calls = ScriptedCalls()
        let sink = FakeInterruptSink(calls: calls)
        let relay = NotifierRelay(into: sink)
        try relay.join(first: 0, try joints(3))
        #expect(calls.names == ["commit [24, 25, 26]", "attach 24", "attach 25", "attach 26"])
        try relay.leave(0..<3)
        let down = Array(calls.names.dropFirst(4))
        #expect(Set(down.prefix(3)) == ["detach 24", "detach 25", "detach 26"])
        #expect(down.dropFirst(3) == ["commit [24, 25, 26]"])
        #expect(sink.routes.isEmpty && sink.attached.isEmpty)
        #expect(Set(sink.released.flatMap { $0 }) == [24, 25, 26])
    }

    @Test("whatever call fails, nothing of the batch is left behind", arguments: 0..<4)
    func undo(failing: Int) throws {
        let calls = ScriptedCalls()
        let sink = FakeInterruptSink(calls: calls)
        let relay = NotifierRelay(into: sink)
        let batch = try joints(3)
        calls.restart(failing: failing)
        #expect(throws: FakeInterruptSink.failure) { try relay.join(first: 0, batch) }
        #expect(sink.attached.isEmpty)
        #expect(sink.routes.isEmpty)
        #expect(sink.released == [24..<27])
        try relay.join(first: 0, batch)
        try batch[1].notifier.signal()
        #expect(sink.deliveries() == [25: 1])
    }

    @Test("an index is joined once; a range that holds a joined one is refused whole")
    func twice() throws {
        let sink = FakeInterruptSink()
        let relay = NotifierRelay(into: sink)
        try relay.join(first: 1, try joints(1))
        #expect(throws: InterruptError.alreadyEnabled) { try relay.join(first: 0, try joints(2)) }
        #expect(throws: InterruptError.alreadyEnabled) {
            try relay.join(1, pin: 16, notifier: try EventFD(), resample: try EventFD())
        }
        #expect(sink.attached == [24])
        try relay.join(first: 5, [])
        #expect(throws: InterruptError.noSuchVector(index: .max, count: .max)) {
            try relay.join(first: .max, try joints(2))
        }
        try relay.leave(2..<100)
        #expect(sink.attached == [24])
    }

    @Test("a pin takes a level, and its end goes to the resample eventfd")
    func pin() throws {
        let sink = FakeInterruptSink()
        let relay = NotifierRelay(into: sink)
        let (notifier, resample) = (try EventFD(), try EventFD())
        try relay.join(0, pin: 16, notifier: notifier, resample: resample)
        try notifier.signal()
        #expect(sink.deliveries() == [16: 1])
        sink.endOfInterrupt(16)
        #expect(resample.drain() == 1)
        try relay.leave(0..<1)
        // The pin's route is the machine's own.
        #expect(sink.attached.isEmpty && sink.routes == [16: .pin] && sink.released.isEmpty)
    }

    @Test("where parting fails, everything counts as joined and can be parted again")
    func partingFails() throws {
        let calls = ScriptedCalls()
        let sink = FakeInterruptSink(calls: calls)
        let relay = NotifierRelay(into: sink)
        try relay.join(first: 0, try joints(2))
        // After two irqfds, the table.
        calls.restart(failing: 2)
        #expect(throws: FakeInterruptSink.failure) { try relay.leave(0..<2) }
        #expect(sink.released.isEmpty)
        try relay.leave(0..<2)
        #expect(sink.routes.isEmpty)
        #expect(Set(sink.released.flatMap { $0 }) == [24, 25])
    }
}
