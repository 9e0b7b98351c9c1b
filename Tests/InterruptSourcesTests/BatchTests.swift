import InterruptSources
import LinuxSystem
import TestSupport
import Testing

/// "These together": what is one table commit, and what is none.
@Suite("Interrupt source group batches")
struct BatchTests {
    private func commits(_ setup: GroupSetup) -> Int { setup.calls.names.count { $0.hasPrefix("commit") } }

    @Test("2,048 messages written while masked are one commit, when the group is enabled and when it is unmasked")
    func writtenWhileMasked() throws {
        let setup = try GroupSetup(.table, count: 2048)
        let group = setup.group
        for (index, configuration) in setup.configurations().enumerated() { try group.update(index, configuration) }
        #expect(setup.calls.names.isEmpty)
        try group.enable()
        #expect(commits(setup) == 1)

        try group.mask(0..<2048)
        setup.calls.restart()
        for (index, configuration) in setup.configurations(data: 0x1000).enumerated() {
            try group.update(index, configuration)
        }
        #expect(setup.calls.names.isEmpty)
        try group.unmask(0..<2048)
        #expect(commits(setup) == 1)
        #expect(setup.sink.routes[24 + 2047] == .message(InterruptMessage(address: 0xfee0_0000, data: 0x1000 + 2047)))
    }

    @Test(
        "an update of many vectors is one commit of those that change and are not masked", arguments: GroupKind.routed)
    func updateMany(_ kind: GroupKind) throws {
        let setup = try GroupSetup(kind, count: 8)
        let group = setup.group
        try group.enable(setup.configurations())
        try group.mask(2..<4)
        setup.calls.restart()
        var changed = setup.configurations(data: 0x80)
        if kind.type == .msix { changed[5] = setup.configurations()[5] }
        try group.update(first: 1, Array(changed[1..<7]))
        let numbers = kind.type == .msi ? [24, 25, 28, 29, 30, 31] : [25, 28, 30]
        #expect(setup.calls.names == ["commit \(numbers)"])
        try group.update(first: 1, Array(changed[1..<7]))
        try group.update(first: 8, [])
        try group.update(first: 2, Array(setup.configurations(data: 0x80)[2..<4]))
        #expect(commits(setup) == 1)
        try group.unmask(2..<4)
        #expect(setup.sink.routes[26] == .message(InterruptMessage(address: 0xfee0_0000, data: 0x82)))
        setup.raise(3)
        #expect(try setup.deliveries() == [3: 1])
    }

    @Test("an update whose messages are not of one MSI block changes nothing")
    func notOneBlock() throws {
        let setup = try GroupSetup(.block)
        try setup.group.enable(setup.configurations())
        let before = setup.standing
        setup.calls.restart()
        var mixed = setup.configurations(data: 0x60)
        mixed[1].message?.address = 0xfee0_1000
        #expect(throws: InterruptError.differentMessages) { try setup.group.update(first: 0, mixed) }
        mixed[1].message = nil
        #expect(throws: InterruptError.wrongConfigurationKind(.msi)) { try setup.group.update(first: 0, mixed) }
        #expect(setup.calls.names.isEmpty)
        #expect(setup.standing == before)
    }

    @Test("a masked vector needs no message, and cannot be unmasked without one", arguments: GroupKind.routed)
    func holes(_ kind: GroupKind) throws {
        let setup = try GroupSetup(kind)
        let group = setup.group
        var configurations = setup.configurations()
        configurations[1] = InterruptConfiguration(startsMasked: true)
        guard kind.type == .msix else {
            #expect(throws: InterruptError.wrongConfigurationKind(.msi)) { try group.enable(configurations) }
            return
        }
        try group.enable(configurations)
        #expect(setup.sink.routes.keys.sorted() == [24, 26, 27])
        let before = setup.standing
        #expect(throws: InterruptError.wrongConfigurationKind(.msix)) { try group.unmask(0..<4) }
        #expect(setup.standing == before)
        try group.update(1, setup.configurations()[1])
        try group.unmask(1)
        setup.raise(1)
        #expect(try setup.deliveries() == [1: 1])
        try group.mask(1)
        try group.disable()
        try group.enable()
        #expect(group.snapshot().vectors.map(\.isMasked) == [false, true, false, false])
    }

    @Test("enabled as it was, a group comes back with its masks and its MSI block", arguments: GroupKind.messages)
    func enabledAgain(_ kind: GroupKind) throws {
        let setup = try GroupSetup(kind)
        let group = setup.group
        let size = kind.type == .msi ? 2 : 4
        try group.enable(Array(setup.configurations(masked: true).prefix(size)))
        try group.unmask(1)
        let before = setup.standing
        try group.disable()
        #expect(try group.pendingState(0) == false)
        try group.enable()
        #expect(group.snapshot() == before.snapshot)
        #expect(setup.sink.routes == before.routes)
        #expect(setup.source.now.wired.keys.sorted() == before.wired.keys.sorted())
        if kind.type == .msi {
            #expect(setup.source.now.provided == 2)
            try group.disable()
            try group.enable(setup.configurations())
            #expect(setup.source.now.provided == 4)
        }
    }

    @Test(
        "a group can have fewer vectors than the device, from 1 to 2,048",
        arguments: [GroupKind.table, .tableHandedOut, .fixedTable], [1, 3, 2047, 2048])
    func fewer(_ kind: GroupKind, count: Int) throws {
        let source = FakeInterruptSource(.msix, count: 2048, grows: kind.grows)
        let sink = FakeInterruptSink()
        let group = try InterruptSourceGroup(source: source, sink: kind.hasSink ? sink : nil, count: count)
        let masked = InterruptConfiguration(startsMasked: true)
        try group.enable(Array(repeating: masked, count: count))
        try group.update(
            count - 1, InterruptConfiguration(message: InterruptMessage(address: 0xfee0_0000, data: 0x40)))
        try group.unmask(count - 1)
        #expect(Array(source.now.wired.keys) == [count - 1])
        #expect(sink.routes.count == (kind.hasSink ? 1 : 0))
        source.raise(count - 1)
        if kind.hasSink {
            #expect(sink.deliveries() == [24 + count - 1: 1])
        } else {
            #expect(try group.notifier(count - 1)?.drain() == 1)
        }
        #expect(throws: InterruptError.noSuchVector(index: count, count: count)) { try group.trigger(count) }
    }
}
