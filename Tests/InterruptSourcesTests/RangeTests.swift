import InterruptSources
import LinuxSystem
import TestSupport
import Testing

/// Order, batches, growth and exhaustion.
@Suite("Interrupt source group order and ranges")
struct RangeTests {
    @Test("a line goes up route, irqfd, VFIO, unmask eventfd, MASK, UNMASK, and down the other way")
    func lineOrder() throws {
        let setup = try GroupSetup(.line)
        try setup.group.enable()
        #expect(
            setup.calls.names == ["commit [11]", "attach 11", "enable x", "set unmask", "MASK", "UNMASK"])
        setup.calls.restart()
        try setup.group.mask(0)
        try setup.group.unmask(0)
        #expect(
            setup.calls.names == [
                "clear unmask", "MASK", "connect 0 x", "detach 11", "MASK", "attach 11", "connect 0 x", "set unmask",
                "UNMASK",
            ])
        setup.calls.restart()
        try setup.group.disable()
        #expect(setup.calls.names == ["clear unmask", "disable", "detach 11"])
        // The pin's route is the VM's own.
        #expect(setup.sink.routes == [11: .pin])
    }

    @Test("a level that is still asserted at the guest's EOI arrives again, one that went away does not")
    func levels() throws {
        let setup = try GroupSetup(.line)
        try setup.group.enable()
        setup.source.setLine(asserted: true)
        #expect(try setup.deliveries() == [0: 1])
        setup.sink.endOfInterrupt(11)
        setup.source.settle()
        #expect(try setup.deliveries() == [0: 1])
        try setup.handle()
        #expect(try setup.deliveries().isEmpty)

        try setup.group.mask(0)
        setup.source.setLine(asserted: true)
        #expect(try setup.group.pendingState(0))
        setup.source.setLine(asserted: false)
        #expect(try setup.group.pendingState(0) == false)
        try setup.group.unmask(0)
        #expect(try setup.deliveries().isEmpty)
    }

    @Test("messages go up route, irqfd, VFIO and down the other way, in one commit each")
    func messageOrder() throws {
        let setup = try GroupSetup(.table)
        try setup.group.enable(setup.configurations())
        let all = "[24, 25, 26, 27]"
        #expect(
            setup.calls.names == [
                "commit \(all)", "attach 24", "attach 25", "attach 26", "attach 27", "enable xxxx",
            ])
        setup.calls.restart()
        try setup.group.disable()
        #expect(setup.calls.names == ["disable", "detach 24", "detach 25", "detach 26", "detach 27", "commit \(all)"])
    }

    @Test("a range is one call for the host, and what is masked already is left alone")
    func oneCall() throws {
        let setup = try GroupSetup(.table, count: 8)
        try setup.group.enable(setup.configurations())
        setup.calls.restart()
        try setup.group.mask(2..<6)
        #expect(setup.calls.names == ["connect 2 xxxx"])
        try setup.group.mask(0..<8)
        #expect(setup.calls.names == ["connect 2 xxxx", "connect 0 xx", "connect 6 xx"])
        setup.calls.restart()
        try setup.group.unmask(0..<8)
        #expect(setup.calls.names == ["connect 0 xxxxxxxx"])
    }

    @Test("plain MSI is masked at the irqfd, so that no event falls between two descriptors")
    func blockMask() throws {
        let setup = try GroupSetup(.block)
        try setup.group.enable(setup.configurations())
        setup.calls.restart()
        try setup.group.mask(1..<3)
        #expect(setup.calls.names == ["detach 25", "detach 26"])
    }

    @Test("a released vector takes nothing of the host or the VM, and the device holds what it raises")
    func release() throws {
        let setup = try GroupSetup(.table)
        try setup.group.enable(setup.configurations())
        try setup.group.mask(1)
        setup.raise(1)
        try setup.group.mask(0..<4, releasing: true)
        #expect(setup.source.now.wired.isEmpty)
        #expect(setup.sink.attached.isEmpty)
        #expect(setup.sink.routes.isEmpty)
        #expect(setup.group.snapshot().vectors.allSatisfy { $0.isMasked && !$0.isWired })
        #expect(try setup.group.pendingState(1))
        setup.raise(2)
        try setup.group.unmask(0..<4)
        #expect(try setup.deliveries() == [1: 1, 2: 1])
    }

    @Test("a notifier that is handed out while masked delivers nothing before unmask")
    func handedOutWhileMasked() throws {
        let setup = try GroupSetup(.table)
        try setup.group.enable(setup.configurations())
        try setup.group.mask(0)
        let notifier = try #require(try setup.group.notifier(0))
        try notifier.signal()
        #expect(try setup.deliveries().isEmpty)
        #expect(try setup.group.pendingState(0))
        try setup.group.unmask(0)
        #expect(try setup.deliveries() == [0: 1])
        try setup.group.mask(0)
        #expect(setup.sink.attached.contains(24) == false)
    }

    @Test("vectors beyond those provided for come by enabling again, and what was pending stays")
    func grows() throws {
        let setup = try GroupSetup(.fixedTable, count: 8)
        try setup.group.enable(setup.configurations(masked: true))
        try setup.group.unmask(0..<2)
        try setup.group.mask(0)
        setup.raise(0)
        setup.calls.restart()
        try setup.group.unmask(4..<6)
        #expect(setup.calls.names.suffix(2) == ["disable", "enable xx--xx"])
        #expect(try setup.group.pendingState(0))
        try setup.group.unmask(0)
        #expect(try setup.deliveries() == [0: 1])
        setup.raise(1)
        setup.raise(5)
        #expect(try setup.deliveries() == [1: 1, 5: 1])
    }

    @Test("an MSI block can be smaller than the group, and its messages differ in the index alone")
    func smallerBlock() throws {
        let setup = try GroupSetup(.block)
        let message = InterruptMessage(address: 0xfee0_1000, data: 0x43)
        try setup.group.enable(Array(repeating: InterruptConfiguration(message: message), count: 2))
        #expect(
            setup.sink.routes == [
                24: .message(InterruptMessage(address: 0xfee0_1000, data: 0x42)),
                25: .message(InterruptMessage(address: 0xfee0_1000, data: 0x43)),
            ])
        #expect(setup.source.now.provided == 2)
        #expect(throws: InterruptError.notEnabled) { try setup.group.trigger(2) }
        try setup.group.mask(0..<4)
        #expect(setup.group.snapshot().vectors.map(\.isWired) == [true, true, false, false])
        try setup.group.disable()
        let other = InterruptConfiguration(message: InterruptMessage(address: 0xfee0_2000, data: 0x42))
        #expect(throws: InterruptError.differentMessages) {
            try setup.group.enable([InterruptConfiguration(message: message), other])
        }
        #expect(throws: InterruptError.wrongConfigurationCount(given: 3, needed: 4)) {
            try setup.group.enable(Array(repeating: other, count: 3))
        }
    }

    @Test("T11: more than the host has is refused with numbers and changes nothing", arguments: GroupKind.messages)
    func exhausted(_ kind: GroupKind) throws {
        let setup = try GroupSetup(kind, count: 16, hostVectors: 4)
        let before = setup.standing
        #expect(throws: InterruptError.hostExhausted(asked: 16, available: 4)) {
            try setup.group.enable(setup.configurations())
        }
        #expect(setup.standing == before)
        if kind.type == .msi {
            try setup.group.enable(Array(setup.configurations().prefix(4)))
            try setup.group.trigger(3)
        } else {
            try setup.group.enable(setup.configurations(masked: true))
            try setup.group.unmask(8..<10)
            let live = setup.standing
            #expect(throws: InterruptError.hostExhausted(asked: 14, available: 2)) {
                try setup.group.unmask(0..<16)
            }
            #expect(setup.standing == live)
            try setup.group.unmask(0..<2)
            try setup.group.trigger(9)
        }
        #expect(try setup.deliveries().count == 1)
    }

    @Test("a table larger than the host's vectors is walked in windows", arguments: GroupKind.tables)
    func windows(_ kind: GroupKind) throws {
        let setup = try GroupSetup(kind, count: 512, hostVectors: 100)
        let group = setup.group
        try group.enable(setup.configurations(masked: true))
        var first = 0
        var size = 512
        var walked = 0
        while first < 512 {
            let window = first..<min(first + size, 512)
            if let available = try roomToUnmask(window, group) {
                size = available
                try #require(size > 0)
            } else {
                for index in window {
                    try group.trigger(index)
                    #expect(try delivered(index, setup) == [index: 1])
                }
                try group.mask(window, releasing: true)
                first = window.upperBound
                walked += 1
            }
        }
        #expect(walked == 6)
        #expect(setup.source.now.wired.isEmpty)
    }

    @Test("calls from many tasks at once leave a consistent group", arguments: [GroupKind.block, .table])
    func concurrent(_ kind: GroupKind) async throws {
        let setup = try GroupSetup(kind, count: 8)
        let group = setup.group
        try group.enable(setup.configurations())
        try await withThrowingTaskGroup { tasks in
            for index in 0..<8 {
                tasks.addTask {
                    for round in 0..<100 {
                        try group.trigger(index)
                        try group.mask(index)
                        _ = try group.pendingState((index + round) % 8)
                        try group.unmask(index)
                    }
                }
            }
            try await tasks.waitForAll()
        }
        _ = try setup.deliveries()
        #expect(group.snapshot().vectors.allSatisfy { $0.isWired && !$0.isMasked && !$0.isPending })
        #expect(setup.sink.attached.count == 8)
        setup.raise(7)
        #expect(try setup.deliveries() == [7: 1])
    }

    /// Unmasks a window; if the host is out of vectors, how many it has.
    private func roomToUnmask(_ window: Range<Int>, _ group: InterruptSourceGroup) throws -> Int? {
        do throws(InterruptError) {
            try group.unmask(window)
            return nil
        } catch {
            guard case .hostExhausted(let asked, let available) = error else { throw error }
            #expect(asked == window.count)
            return available
        }
    }

    /// As ``GroupSetup/deliveries()``, without making the notifiers of a whole table.
    private func delivered(_ index: Int, _ setup: GroupSetup) throws -> [Int: Int] {
        if setup.kind.hasSink { return try setup.deliveries() }
        return try setup.group.notifier(index)?.drain() == 1 ? [index: 1] : [:]
    }
}
