import InterruptSources
import LinuxSystem
import TestSupport
import Testing

/// An MSI block that comes in parts.
@Suite("Interrupt source group that is made larger") struct EnlargeTests {
    private static let blocks: [GroupKind] = [.block, .blockHandedOut]

    /// A block of two of four, of which the second is masked and has one pending.
    private func begin(_ kind: GroupKind) throws -> GroupSetup {
        let setup = try GroupSetup(kind)
        try setup.group.enable(Array(setup.configurations().prefix(2)))
        try setup.group.mask(1)
        setup.raise(1)
        #expect(try setup.group.pendingState(1) && setup.group.blockSize == 2)
        return setup
    }

    @Test("the new vectors are delivered, and those that were keep their masks and what is pending", arguments: blocks)
    func enlarges(_ kind: GroupKind) throws {
        let setup = try begin(kind)
        let group = setup.group
        var wanted = setup.configurations()
        wanted[3].startsMasked = true
        // What it says of those that are there already is passed over.
        wanted[1].startsMasked = false
        setup.calls.restart()
        try group.enlarge(wanted)
        #expect(setup.calls.names.filter { $0 == "disable" || $0.hasPrefix("enable") } == ["disable", "enable xxxx"])
        #expect(group.blockSize == 4)
        #expect(group.snapshot().vectors.map(\.isMasked) == [false, true, false, true])
        for index in 0..<4 { setup.raise(index) }
        #expect(try setup.deliveries() == [0: 1, 2: 1])
        try group.unmask(0..<4)
        #expect(try setup.deliveries() == [1: 1, 3: 1])
    }

    @Test("what a process has not taken from its eventfd yet stays in it, also where there is no room")
    func counted() throws {
        let setup = try GroupSetup(.blockHandedOut)
        let eventfd = try EventFD()
        try setup.group.setNotifier(0, eventfd)
        try setup.group.enable(Array(setup.configurations().prefix(1)))
        setup.raise(0)
        setup.calls.restart(failing: 1)
        #expect(throws: FakeInterruptSource.failure) { try setup.group.enlarge(setup.configurations()) }
        #expect(setup.calls.names == ["disable", "enable xxxx", "enable x"])
        #expect(eventfd.drain() == 1)
        setup.raise(0)
        try setup.group.enlarge(setup.configurations())
        #expect(eventfd.drain() == 1)
        setup.raise(0)
        #expect(eventfd.drain() == 1)
    }

    @Test("a host without room says how many there are, and the block that was is on", arguments: blocks)
    func noRoom(_ kind: GroupKind) throws {
        let setup = try GroupSetup(kind, hostVectors: 2)
        try setup.group.enable(Array(setup.configurations().prefix(2)))
        let before = setup.standing
        #expect(throws: InterruptError.hostExhausted(asked: 2, available: 0)) {
            try setup.group.enlarge(setup.configurations())
        }
        #expect(setup.standing == before && setup.group.blockSize == 2)
        setup.raise(1)
        #expect(try setup.deliveries() == [1: 1])
    }

    @Test("what is no larger block of a live group is refused, and changes nothing") func refused() throws {
        let setup = try GroupSetup(.block)
        let all = setup.configurations()
        #expect(throws: InterruptError.notEnabled) { try setup.group.enlarge(all) }
        try setup.group.enable(Array(all.prefix(2)))
        let before = setup.standing
        for count in [0, 1, 2, 3, 5] {
            let given = Array((all + all).prefix(count))
            #expect(throws: InterruptError.wrongConfigurationCount(given: count, needed: 4)) {
                try setup.group.enlarge(given)
            }
        }
        let other = setup.configurations(data: 0x60)
        #expect(throws: InterruptError.differentMessages) { try setup.group.enlarge(Array(all[..<2] + other[..<2])) }
        #expect(setup.standing == before)
        let table = try GroupSetup(.table)
        try table.group.enable(table.configurations())
        #expect(throws: InterruptError.invalidCount(.msix, 4)) { try table.group.enlarge(table.configurations()) }
        setup.group.destroy()
        #expect(throws: InterruptError.destroyed) { try setup.group.enlarge(all) }
    }
}
