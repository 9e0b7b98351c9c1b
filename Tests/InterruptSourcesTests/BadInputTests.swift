import InterruptSources
import LinuxSystem
import TestSupport
import Testing

/// What a group is given by those who do not check: each is a typed error, changes nothing, and leaves the group usable.
@Suite("Interrupt source group bad input")
struct BadInputTests {
    /// A sink whose numbers are what they should not be.
    private struct HostileSink: InterruptSink {
        let first: Int
        func reserve(_ count: Int) throws(InterruptError) -> Int { first }
        func release(_ numbers: Range<Int>) {}
        func commit(_ changes: [RouteChange]) throws(InterruptError) {}
        func attach(_ notifier: EventFD, to number: Int, resample: EventFD?) throws(InterruptError) {}
        func detach(_ notifier: EventFD, from number: Int) throws(InterruptError) {}
    }

    /// A source that says it has other counts than it may.
    private struct HostileSource: InterruptSource {
        let type: InterruptType
        let count: Int
        let growsWhileEnabled = true
        func enable(_ notifiers: [EventFD?]) throws(InterruptError) {}
        func connect(first: Int, _ notifiers: [EventFD?]) throws(InterruptError) {}
        func disable() throws(InterruptError) {}
        func trigger(first: Int, count: Int) throws(InterruptError) {}
        func setUnmaskNotifier(_ notifier: EventFD?) throws(InterruptError) {}
        func setLineMasked(_ masked: Bool) throws(InterruptError) {}
        func isLineAsserted() throws(InterruptError) -> Bool { false }
    }

    @Test("numbers that cannot be counted to are refused", arguments: [Int.max, Int.max - 3, -1, Int.min])
    func overflowingNumbers(_ first: Int) throws {
        let source = FakeInterruptSource(.msix, count: 4)
        #expect(throws: InterruptError.numbersExhausted(asked: 4, available: 0)) {
            try InterruptSourceGroup(source: source, sink: HostileSink(first: first))
        }
        #expect(try InterruptSourceGroup(source: source, sink: HostileSink(first: Int.max - 4)).base == Int.max - 4)
    }

    @Test("a source with a count that PCI does not allow makes no group", arguments: InterruptType.allCases)
    func overflowingCounts(_ type: InterruptType) throws {
        for count in [0, -1, type.maximumCount + 1, Int.max, Int.min] {
            #expect(throws: InterruptError.invalidCount(type, count)) {
                try InterruptSourceGroup(source: HostileSource(type: type, count: count), sink: nil)
            }
        }
    }

    @Test("out of numbers: said with what there is, and what is live goes on")
    func outOfNumbers() throws {
        let sink = FakeInterruptSink(numbers: 24..<34)
        let device = try DeviceSetup(sink: sink, counts: [.msix: 8])
        try device.switchTo(.msix)
        let source = FakeInterruptSource(.msix, count: 4)
        for _ in 0..<3 {
            #expect(throws: InterruptError.numbersExhausted(asked: 4, available: 2)) {
                try InterruptSourceGroup(source: source, sink: sink)
            }
        }
        device.raise(.msix, 7)
        #expect(try device.deliveries(.msix) == [7: 1])
        #expect(try InterruptSourceGroup(source: source, sink: sink, count: 2).base == 32)
    }

    @Test("each wrong call leaves the group as it was and usable", arguments: GroupKind.allCases)
    func wrongCalls(_ kind: GroupKind) throws {
        let setup = try GroupSetup(kind)
        let group = setup.group
        try group.enable(setup.configurations())
        let before = setup.standing
        setup.calls.restart()
        let good = setup.configurations()
        let wrongKind = InterruptConfiguration(
            message: kind.type == .legacy ? InterruptMessage(address: 0, data: 0) : nil)
        let calls: [() throws -> Void] = [
            { try group.enable([]) },
            { try group.enable(good + good) },
            { try group.enable(setup.configurations(data: 0x80, masked: true)) },
            { try group.update(group.count, good[0]) },
            { try group.update(first: -1, good) },
            { try group.update(first: Int.max, good) },
            { try group.update(first: 0, good + good) },
            { try group.mask(-1..<1) },
            { try group.mask(0..<Int.max) },
            { try group.unmask(Int.min..<Int.max) },
            { try group.trigger(.max) },
            { try group.setNotifier(.min, nil) },
            { try group.setNotifiers(first: 0, Array(repeating: nil, count: group.count + 1)) },
        ]
        for call in calls { #expect(throws: InterruptError.self) { try call() } }
        if kind.hasSink || kind.type == .legacy {
            #expect(throws: InterruptError.wrongConfigurationKind(kind.type)) { try group.update(0, wrongKind) }
        }
        #expect(setup.calls.names.isEmpty)
        #expect(setup.standing == before)
        setup.raise(0)
        #expect(try setup.deliveries() == [0: 1])
    }
}
