import InterruptSources
import LinuxSystem
import TestSupport
import Testing

@Suite("Interrupt source group creation")
struct CreationTests {
    @Test(
        "T1: counts that a type cannot have are refused",
        arguments: [
            (InterruptType.legacy, 0, false), (.legacy, 1, true), (.legacy, 2, false), (.msi, 0, false),
            (.msi, 1, true), (.msi, 3, false), (.msi, 5, false), (.msi, 32, true), (.msi, 33, false),
            (.msi, 64, false), (.msix, -1, false), (.msix, 0, false), (.msix, 1, true), (.msix, 2047, true),
            (.msix, 2048, true), (.msix, 2049, false), (.msix, Int.max, false), (.msix, Int.min, false),
        ])
    func counts(_ type: InterruptType, _ count: Int, _ fits: Bool) throws {
        let source = FakeInterruptSource(type, count: 4096)
        if fits {
            #expect(try InterruptSourceGroup(source: source, sink: nil, count: count).count == count)
        } else {
            #expect(throws: InterruptError.invalidCount(type, count)) {
                try InterruptSourceGroup(source: source, sink: nil, count: count)
            }
        }
    }

    @Test("more vectors than the device has are refused")
    func moreThanTheDevice() throws {
        let source = FakeInterruptSource(.msix, count: 5)
        #expect(throws: InterruptError.invalidCount(.msix, 6)) {
            try InterruptSourceGroup(source: source, sink: nil, count: 6)
        }
        #expect(try InterruptSourceGroup(source: source, sink: nil).count == 5)
    }

    @Test("a legacy source needs a pin of the IOAPIC with a sink, and nothing else has one")
    func pins() throws {
        let line = FakeInterruptSource(.legacy, count: 1)
        let table = FakeInterruptSource(.msix, count: 1)
        let sink = FakeInterruptSink()
        #expect(try InterruptSourceGroup(source: line, sink: sink, pin: 23).base == 23)
        for pin in [nil, -1, 24] as [Int?] {
            #expect(throws: InterruptError.wrongConfigurationKind(.legacy)) {
                try InterruptSourceGroup(source: line, sink: sink, pin: pin)
            }
        }
        #expect(throws: InterruptError.wrongConfigurationKind(.legacy)) {
            try InterruptSourceGroup(source: line, sink: nil, pin: 5)
        }
        #expect(throws: InterruptError.wrongConfigurationKind(.msix)) {
            try InterruptSourceGroup(source: table, sink: sink, pin: 5)
        }
    }

    @Test("the block of numbers is reserved at creation and given back at the end")
    func numbers() throws {
        let sink = FakeInterruptSink(numbers: 24..<4096)
        let source = FakeInterruptSource(.msix, count: 2048)
        do {
            let first = try InterruptSourceGroup(source: source, sink: sink)
            #expect(first.base == 24)
            #expect(throws: InterruptError.numbersExhausted(asked: 2048, available: 2024)) {
                try InterruptSourceGroup(source: source, sink: sink)
            }
            #expect(try InterruptSourceGroup(source: source, sink: sink, count: 100).base == 2072)
            #expect(sink.released == [2072..<2172])
        }
        #expect(sink.released == [2072..<2172, 24..<2072])
    }

    @Test("without a sink the numbers are another process's, and base is 0")
    func handedOut() throws {
        let setup = try GroupSetup(.tableHandedOut)
        #expect(setup.group.base == 0)
        try setup.group.enable(setup.configurations())
        let notifier = try #require(try setup.group.notifier(3))
        #expect(try setup.group.notifier(3) === notifier)
        setup.calls.restart()
        try setup.group.trigger(3)
        #expect(setup.calls.names == ["loopback 3"])
        #expect(notifier.drain() == 1)
        #expect(try setup.group.resampleNotifier() == nil)
    }

    @Test("with a sink an own notifier is written, a handed-out one is left to the loopback")
    func whoSignals() throws {
        let setup = try GroupSetup(.table)
        try setup.group.enable(setup.configurations())
        setup.calls.restart()
        try setup.group.trigger(1)
        #expect(setup.calls.names.isEmpty)
        _ = try setup.group.notifier(1)
        try setup.group.trigger(1)
        #expect(setup.calls.names == ["loopback 1"])
        // The guest saw both, coalesced.
        #expect(try setup.deliveries() == [1: 1])
    }

    @Test("a large table of which little is used takes few descriptors")
    func lazyNotifiers() throws {
        let setup = try GroupSetup(.tableHandedOut, count: 2048)
        let before = try listDirectory("/proc/self/fd").count
        try setup.group.enable(setup.configurations(masked: true))
        try setup.group.unmask(2040..<2044)
        let after = try listDirectory("/proc/self/fd").count
        // Other tests of the process open descriptors at the same time, but not thousands.
        #expect(after - before < 1000)
        #expect(setup.source.now.wired.keys.sorted() == [2040, 2041, 2042, 2043])
    }
}
