import InterruptSources
import LinuxSystem
import TestSupport
import Testing

/// A virtual device's groups: the contract without a device behind it.
@Suite("Virtual device's interrupts")
struct VirtualInterruptsTests {
    private struct Setup {
        let interrupts: VirtualInterrupts
        let sink: FakeInterruptSink?
        let group: InterruptSourceGroup

        init(_ type: InterruptType, hasSink: Bool) throws {
            interrupts = try VirtualInterrupts([.legacy: 1, .msi: 4, .msix: 4])
            let source = try #require(interrupts.source(type))
            sink = hasSink ? FakeInterruptSink() : nil
            group = try InterruptSourceGroup(source: source, sink: sink, pin: type == .legacy && hasSink ? 11 : nil)
        }

        func enable() throws {
            try group.enable(
                (0..<group.count).map {
                    InterruptConfiguration(
                        message: group.type == .legacy
                            ? nil : InterruptMessage(address: 0xfee0_0000, data: 0x40 + UInt32($0)))
                })
        }

        func raise(_ index: Int) {
            if group.type == .legacy { interrupts.setLine(asserted: true) } else { interrupts.raise(index) }
        }

        func endLevel() throws {
            interrupts.setLine(asserted: false)
            try interrupts.unmaskNotifier?.signal()
            interrupts.endOfInterrupt()
        }

        func deliveries() throws -> [Int: Int] {
            if let sink {
                return Dictionary(uniqueKeysWithValues: sink.deliveries().map { ($0.key - group.base, $0.value) })
            }
            var seen: [Int: Int] = [:]
            for index in 0..<group.count where try group.notifier(index)?.drain() ?? 0 > 0 { seen[index] = 1 }
            return seen
        }
    }

    @Test("a raise and a trigger are one interrupt each", arguments: InterruptType.allCases, [true, false])
    func delivers(_ type: InterruptType, hasSink: Bool) throws {
        let setup = try Setup(type, hasSink: hasSink)
        setup.raise(0)
        #expect(try setup.deliveries().isEmpty)
        setup.interrupts.setLine(asserted: false)
        #expect(throws: InterruptError.notEnabled) { try setup.group.trigger(0) }
        try setup.enable()
        for index in 0..<setup.group.count {
            setup.raise(index)
            #expect(try setup.deliveries() == [index: 1])
            try setup.endLevel()
            try setup.group.trigger(index)
            #expect(try setup.deliveries() == [index: 1])
        }
        try setup.group.disable()
        setup.raise(0)
        #expect(try setup.deliveries().isEmpty)
    }

    @Test("raises while masked are one interrupt on unmask", arguments: InterruptType.allCases, [true, false])
    func masked(_ type: InterruptType, hasSink: Bool) throws {
        let setup = try Setup(type, hasSink: hasSink)
        try setup.enable()
        for raises in [0, 1, 2, 1000] {
            try setup.group.mask(0)
            for _ in 0..<raises { setup.raise(0) }
            #expect(try setup.deliveries().isEmpty)
            #expect(try setup.group.pendingState(0) == (raises > 0))
            try setup.group.unmask(0)
            #expect(try setup.deliveries() == (raises > 0 ? [0: 1] : [:]))
            #expect(try setup.group.pendingState(0) == false)
            try setup.endLevel()
        }
    }

    @Test("a vector that was never unmasked is held by the device", arguments: [true, false])
    func pendingBits(hasSink: Bool) throws {
        let setup = try Setup(.msix, hasSink: hasSink)
        try setup.group.mask(0..<4)
        try setup.enable()
        setup.raise(2)
        #expect(try setup.deliveries().isEmpty)
        try setup.group.unmask(0..<4)
        #expect(try setup.deliveries() == [2: 1])
        try setup.group.mask(0..<4, releasing: true)
        setup.raise(3)
        try setup.group.disable()
        try setup.group.unmask(0..<4)
        try setup.group.enable()
        #expect(try setup.deliveries().isEmpty)
    }

    @Test("a level comes again at each EOI while it is asserted, and not after", arguments: [true, false])
    func level(hasSink: Bool) throws {
        let setup = try Setup(.legacy, hasSink: hasSink)
        try setup.enable()
        setup.raise(0)
        for _ in 0..<3 {
            #expect(try setup.deliveries() == [0: 1])
            setup.interrupts.endOfInterrupt()
            #expect(try setup.deliveries().isEmpty, "nobody has signalled the end")
            try setup.interrupts.unmaskNotifier?.signal()
            setup.interrupts.endOfInterrupt()
        }
        #expect(try setup.deliveries() == [0: 1])
        try setup.endLevel()
        #expect(try setup.deliveries().isEmpty)

        try setup.group.mask(0)
        #expect(setup.interrupts.unmaskNotifier == nil)
        setup.raise(0)
        #expect(try setup.group.pendingState(0))
        setup.interrupts.setLine(asserted: false)
        #expect(try setup.group.pendingState(0) == false)
        try setup.group.unmask(0)
        #expect(try setup.deliveries().isEmpty)
    }

    @Test("one type at a time is on")
    func oneType() throws {
        let interrupts = try VirtualInterrupts([.msi: 2, .msix: 2])
        #expect(interrupts.source(.legacy) == nil)
        let block = try #require(interrupts.source(.msi))
        let table = try #require(interrupts.source(.msix))
        try block.enable([nil, nil])
        #expect(throws: InterruptError.otherTypeActive) { try table.enable([nil]) }
        #expect(throws: InterruptError.alreadyEnabled) { try block.enable([nil]) }
        #expect(throws: InterruptError.notEnabled) { try table.connect(first: 0, [nil]) }
        #expect(throws: InterruptError.notEnabled) { try table.trigger(first: 0, count: 1) }
        try table.disable()
        try block.trigger(first: 0, count: 2)
        try block.disable()
        try block.disable()
        try table.enable([nil])
    }

    @Test("what is out of range is refused")
    func badInput() throws {
        for counts in [[InterruptType.msi: 3], [.msix: 2049], [.legacy: 2], [.msix: 0], [.msi: -1]] {
            #expect(throws: InterruptError.self) { try VirtualInterrupts(counts) }
        }
        let interrupts = try VirtualInterrupts([.legacy: 1, .msi: 4, .msix: 4])
        let block = try #require(interrupts.source(.msi))
        #expect(throws: InterruptError.invalidCount(.msi, 0)) { try block.enable([]) }
        #expect(throws: InterruptError.invalidCount(.msi, 5)) { try block.enable(Array(repeating: nil, count: 5)) }
        try block.enable([nil, nil])
        for first in [-1, 3, Int.max, Int.min] {
            #expect(throws: InterruptError.self) { try block.connect(first: first, [nil]) }
            interrupts.raise(first)
        }
        #expect(throws: InterruptError.noSuchVector(index: 2, count: 2)) { try block.connect(first: 1, [nil, nil]) }
        for (first, count) in [(-1, 1), (4, 1), (0, 5), (1, Int.max), (0, -1), (Int.max, 1)] {
            #expect(throws: InterruptError.self) { try block.trigger(first: first, count: count) }
        }
        #expect(throws: InterruptError.notLevelTriggered) { try block.setLineMasked(true) }
        #expect(throws: InterruptError.notLevelTriggered) { try block.setUnmaskNotifier(nil) }
        #expect(throws: InterruptError.notLevelTriggered) { try block.isLineAsserted() }
    }
}
