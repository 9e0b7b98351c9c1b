import InterruptSources
import LinuxSystem
import TestSupport
import Testing

/// Cases that every interrupt source group is to be tested with, by number, where no other suite has them.
@Suite("Interrupt source group cases")
struct CaseTests {
    @Test(
        "T4: n raises while masked are 0 or 1 interrupts on unmask, and the next raise is one",
        arguments: GroupKind.allCases)
    func raisesWhileMasked(_ kind: GroupKind) throws {
        let setup = try GroupSetup(kind)
        try setup.group.enable(setup.configurations())
        for handedIn in [false, true] {
            if handedIn { try setup.group.setNotifier(0, try EventFD()) }
            for raises in [0, 1, 2, 1000] {
                try setup.group.mask(0)
                for _ in 0..<raises { setup.raise(0) }
                #expect(try setup.deliveries().isEmpty)
                try setup.group.unmask(0)
                #expect(try setup.deliveries() == (raises > 0 ? [0: 1] : [:]))
                try setup.handle()
                setup.raise(0)
                #expect(try setup.deliveries() == [0: 1])
                try setup.handle()
            }
        }
    }

    @Test(
        "T6: what was pending at disable is not delivered after enable", arguments: GroupKind.allCases, [true, false])
    func pendingAndDisable(_ kind: GroupKind, startsMasked: Bool) throws {
        let setup = try GroupSetup(kind)
        let group = setup.group
        for handedIn in [false, true] {
            if handedIn { try group.setNotifier(0, try EventFD()) }
            try group.enable(setup.configurations(masked: startsMasked))
            try group.mask(0)
            setup.raise(0)
            try group.trigger(0)
            #expect(try group.pendingState(0))
            try group.disable()
            try setup.handle()
            try group.enable(setup.configurations(masked: startsMasked))
            #expect(try group.pendingState(0) == false)
            #expect(try setup.deliveries().isEmpty)
            try group.unmask(0)
            #expect(try setup.deliveries().isEmpty)
            try group.disable()
        }
    }

    @Test(
        "T9: a level is one interrupt for each EOI, however often it is asserted before",
        arguments: [GroupKind.line, .lineHandedOut])
    func levelCycle(_ kind: GroupKind) throws {
        let setup = try GroupSetup(kind)
        try setup.group.enable()
        for _ in 0..<10 {
            setup.source.setLine(asserted: true)
            #expect(try setup.deliveries() == [0: 1])
            setup.source.setLine(asserted: false)
            setup.source.setLine(asserted: true)
            #expect(try setup.deliveries().isEmpty, "no EOI yet")
            try end(setup)
            #expect(try setup.deliveries() == [0: 1], "asserted at the EOI")
            setup.source.setLine(asserted: false)
            try end(setup)
            #expect(try setup.deliveries().isEmpty)
            try end(setup)
            #expect(try setup.deliveries().isEmpty, "an EOI of somebody else on the line")
        }
    }

    @Test("T9: two devices on one pin are both served, and one that goes leaves the other working")
    func sharedLine() throws {
        let sink = FakeInterruptSink()
        let devices = try (0..<2).map { _ in try DeviceSetup(sink: sink, counts: [.legacy: 1]) }
        for device in devices { try device.switchTo(.legacy) }
        let lines = devices.compactMap { $0.sources[.legacy] }
        let endOfInterrupt = {
            sink.endOfInterrupt(11)
            for line in lines { line.settle() }
        }
        lines[0].setLine(asserted: true)
        lines[1].setLine(asserted: true)
        #expect(sink.deliveries() == [11: 2])
        // The handler serves the first device; the second one still asserts.
        lines[0].setLine(asserted: false)
        endOfInterrupt()
        #expect(sink.deliveries() == [11: 1])
        lines[1].setLine(asserted: false)
        endOfInterrupt()
        #expect(sink.deliveries().isEmpty)

        try devices[0].owner.group(.legacy)?.mask(0)
        lines[0].setLine(asserted: true)
        lines[1].setLine(asserted: true)
        #expect(sink.deliveries() == [11: 1])
        devices[0].owner.destroy()
        lines[1].setLine(asserted: false)
        endOfInterrupt()
        lines[1].setLine(asserted: true)
        #expect(sink.deliveries() == [11: 1])
    }

    @Test(
        "T10: vectors come one by one, and those before them go on",
        arguments: [GroupKind.table, .fixedTable, .tableHandedOut, .fixedTableHandedOut])
    func growth(_ kind: GroupKind) throws {
        let setup = try GroupSetup(kind, count: 8)
        let group = setup.group
        try group.enable(setup.configurations(masked: true))
        for next in 0..<8 {
            if next > 0 {
                try group.mask(next - 1)
                setup.raise(next - 1)
            }
            try group.unmask(next)
            #expect(try setup.deliveries().isEmpty)
            if next > 0 {
                #expect(try group.pendingState(next - 1), "pending over the growth to \(next)")
                try group.unmask(next - 1)
                #expect(try setup.deliveries() == [next - 1: 1])
            }
            for index in 0...next {
                setup.raise(index)
                #expect(try setup.deliveries() == [index: 1])
            }
            #expect(setup.source.now.wired.count == next + 1)
        }
    }

    @Test("T13: 10,000 times made, enabled and destroyed, and all numbers, routes, irqfds and eventfds are back")
    func cycles() throws {
        let sink = FakeInterruptSink()
        let neighbour = try DeviceSetup(sink: sink, counts: [.msix: 3])
        try neighbour.switchTo(.msix)
        let before = neighbour.standing
        let eventFDs = MadeEventFDs()
        for _ in 0..<10_000 {
            let group = try InterruptSourceGroup(
                source: FakeInterruptSource(.msix, count: 2), sink: sink, count: nil, pin: nil,
                newEventFD: { () throws(KernelError) in try eventFDs.make() })
            #expect(group.base == 27)
            let message = InterruptMessage(address: 0xfee0_0000, data: 0x40)
            try group.enable(Array(repeating: InterruptConfiguration(message: message), count: 2))
            try group.mask(1)
        }
        #expect(eventFDs.count == 0)
        #expect(neighbour.standing == before)
        neighbour.raise(.msix, 2)
        #expect(try neighbour.deliveries(.msix) == [2: 1])
    }

    @Test("T13: 10,000 switches between all types leave nothing behind")
    func switches() throws {
        let setup = try DeviceSetup()
        for type in InterruptType.allCases { try setup.switchTo(type) }
        try setup.owner.switchTo(nil)
        let before = setup.standing
        for round in 0..<10_000 {
            try setup.owner.switchTo(InterruptType.allCases[round % 3])
            setup.calls.restart()
        }
        try setup.owner.switchTo(nil)
        #expect(setup.standing == before)
    }

    @Test("T14: clients that use one device at once are served one after the other", arguments: [true, false])
    func twoClients(hasSink: Bool) async throws {
        let setup = try DeviceSetup(hasSink: hasSink)
        try setup.switchTo(.msix)
        try await withThrowingTaskGroup { tasks in
            for client in 0..<4 {
                tasks.addTask {
                    for round in 0..<300 {
                        // Whatever another client made of the mode, an answer is one of these.
                        do {
                            try use(setup, client: client, round: round)
                        } catch let error as InterruptError {
                            #expect(
                                [.notEnabled, .otherTypeActive, .alreadyEnabled, .destroyed].contains(error))
                        }
                    }
                }
            }
            try await tasks.waitForAll()
        }
        try setup.switchTo(nil)
        #expect(setup.standing.on.isEmpty && setup.sink.attached.isEmpty && setup.standing.routes.isEmpty)
        for type in InterruptType.allCases {
            let group = try setup.owner.makeGroup(type)
            try group.unmask(0..<group.count)
            try setup.switchTo(type)
            _ = try setup.deliveries(type)
            setup.raise(type, 0)
            #expect(try setup.deliveries(type) == [0: 1])
            try setup.handle()
        }
    }

    private func use(_ setup: DeviceSetup, client: Int, round: Int) throws {
        let type = InterruptType.allCases[(client + round) % 3]
        switch (client * 7 + round) % 8 {
        case 0: try setup.switchTo(type)
        case 1: try setup.owner.group(type)?.trigger(0)
        case 2: try setup.owner.group(type)?.mask(0)
        case 3: try setup.owner.group(type)?.unmask(0)
        case 4: _ = setup.owner.group(type)?.snapshot()
        case 5: _ = try setup.owner.group(type)?.pendingState(0)
        case 6: try setup.owner.group(type)?.enable(setup.configurations(type))
        default: try setup.owner.switchTo(nil)
        }
    }

    /// The guest ends the interrupt, whatever the device does.
    private func end(_ setup: GroupSetup) throws {
        if setup.kind.hasSink {
            setup.sink.endOfInterrupt(11)
        } else {
            try setup.group.resampleNotifier()?.signal()
        }
        setup.source.settle()
    }
}
