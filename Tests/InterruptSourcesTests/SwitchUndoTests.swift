import InterruptSources
import LinuxSystem
import TestSupport
import Testing

/// A failure at every kernel call of a mode switch.
@Suite("A device's interrupts undo")
struct SwitchUndoTests {
    @Test(
        "T3: a switch that fails leaves the old mode live, with its masks and what is pending",
        arguments: DeviceInterruptsTests.modes, InterruptType.allCases)
    func failedSwitch(_ from: InterruptType?, _ to: InterruptType) throws {
        if from == to { return }
        for hasSink in [true, false] {
            var step = 0
            while try !fails(at: step, from, to, hasSink: hasSink) { step += 1 }
            #expect(step > 0)
        }
    }

    @Test(
        "T3: a switch to none that fails leaves the old mode live", arguments: InterruptType.allCases)
    func failedEnd(_ from: InterruptType) throws {
        for hasSink in [true, false] {
            var step = 0
            while try !fails(at: step, from, nil, hasSink: hasSink) { step += 1 }
            #expect(step > 0)
        }
    }

    /// Whether there was no such step to fail at, and so the switch was done.
    private func fails(
        at step: Int, _ from: InterruptType?, _ to: InterruptType?, hasSink: Bool
    ) throws -> Bool {
        let setup = try DeviceSetup(hasSink: hasSink)
        try setup.switchTo(from)
        let last = (from.map { setup.sources[$0]?.count ?? 1 } ?? 1) - 1
        if let from, let group = setup.owner.group(from) {
            try group.mask(last)
            setup.raise(from, last)
            if last > 0 { try group.mask(1) }
            #expect(try group.pendingState(last))
            #expect(try setup.deliveries(from).isEmpty)
        }
        let before = setup.standing
        setup.calls.restart(failing: step)
        do {
            try setup.switchTo(to)
            #expect(step == setup.calls.names.count, "every call was told to fail once")
            return true
        } catch let error as InterruptError {
            #expect(error == FakeInterruptSource.failure || error == FakeInterruptSink.failure)
        }
        let calls = setup.calls.names
        setup.calls.restart()
        #expect(setup.standing == before, "step \(step) of \(calls)")
        if let from, let group = setup.owner.group(from) {
            #expect(try setup.deliveries(from).isEmpty)
            try group.unmask(0..<group.count)
            #expect(try setup.deliveries(from) == [last: 1], "step \(step) of \(calls)")
            try setup.handle()
            setup.raise(from, 0)
            #expect(try setup.deliveries(from) == [0: 1])
            try setup.handle()
        }
        try setup.switchTo(to)
        #expect(setup.owner.workingType == to)
        if let to {
            _ = try setup.deliveries(to)
            setup.raise(to, 0)
            #expect(try setup.deliveries(to) == [0: 1])
        }
        return false
    }

    @Test("T3: what cannot be undone is said, and taken away in the end", arguments: InterruptType.allCases)
    func nothingWorks(_ from: InterruptType) throws {
        for to in InterruptType.allCases where to != from {
            for step in 0..<12 {
                let setup = try DeviceSetup()
                try setup.switchTo(from)
                setup.calls.restart(failing: step, always: true)
                try? setup.switchTo(to)
                setup.calls.restart()
                for type in [from, to] {
                    let said = setup.owner.group(type)?.snapshot().vectors.filter(\.isWired).map(\.index)
                    #expect(said ?? [] == setup.sources[type]?.now.wired.keys.sorted())
                }
                setup.owner.destroy()
                #expect(setup.standing.on.isEmpty)
                #expect(setup.sink.attached.isEmpty)
                #expect(setup.standing.routes.isEmpty)
            }
        }
    }
}
