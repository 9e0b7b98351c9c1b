import InterruptSources
import LinuxSystem
import TestSupport
import Testing

/// The contract's table, row by row, for every kind of group.
@Suite("Interrupt source group contract")
struct ContractTests {
    @Test("a configured group delivers nothing and remembers what it is told", arguments: GroupKind.allCases)
    func configured(_ kind: GroupKind) throws {
        let setup = try GroupSetup(kind)
        let group = setup.group
        try group.disable()
        #expect(throws: InterruptError.notEnabled) { try group.trigger(0) }
        #expect(try group.pendingState(0) == false)
        try group.mask(0)
        for (index, configuration) in setup.configurations().enumerated() {
            try group.update(index, configuration)
        }
        #expect(setup.calls.names.isEmpty)
        #expect(group.snapshot().phase == .configured)

        try group.enable()
        #expect(group.snapshot().phase == .live)
        #expect(group.snapshot().vectors.map(\.isMasked) == [true] + Array(repeating: false, count: group.count - 1))
        try group.unmask(0)
        try group.trigger(0)
        #expect(try setup.deliveries() == [0: 1])
    }

    @Test("enabling again with the same configurations is nothing, with others an error", arguments: GroupKind.allCases)
    func enableTwice(_ kind: GroupKind) throws {
        let setup = try GroupSetup(kind)
        try setup.group.enable(setup.configurations())
        let before = setup.standing
        setup.calls.restart()
        try setup.group.enable(setup.configurations())
        #expect(throws: InterruptError.alreadyEnabled) {
            try setup.group.enable(setup.configurations(masked: true))
        }
        #expect(setup.calls.names.isEmpty)
        #expect(setup.standing == before)
    }

    @Test("trigger and the device deliver one interrupt on their own vector", arguments: GroupKind.allCases)
    func delivers(_ kind: GroupKind) throws {
        let setup = try GroupSetup(kind)
        try setup.group.enable(setup.configurations())
        _ = try setup.deliveries()
        for index in 0..<setup.group.count {
            try setup.group.trigger(index)
            #expect(try setup.deliveries() == [index: 1])
            setup.raise(index)
            #expect(try setup.deliveries() == [index: 1])
            try setup.handle()
            #expect(try setup.group.pendingState(index) == false)
        }
        #expect(try setup.deliveries().isEmpty)
    }

    @Test(
        "nothing is delivered while masked, and at most one interrupt on unmask",
        arguments: GroupKind.allCases, [0, 1, 2, 1000])
    func masked(_ kind: GroupKind, raises: Int) throws {
        let setup = try GroupSetup(kind)
        try setup.group.enable(setup.configurations())
        try setup.group.mask(0)
        try setup.group.mask(0)
        for _ in 0..<raises { setup.raise(0) }
        #expect(try setup.deliveries().isEmpty)
        #expect(try setup.group.pendingState(0) == (raises > 0))
        #expect(setup.group.snapshot().vectors.first?.isPending == (raises > 0))

        try setup.group.unmask(0)
        #expect(try setup.deliveries() == (raises > 0 ? [0: 1] : [:]))
        #expect(try setup.group.pendingState(0) == false)
        try setup.handle()
        try setup.group.unmask(0)
        #expect(try setup.deliveries().isEmpty)
        setup.raise(0)
        #expect(try setup.deliveries() == [0: 1])
    }

    @Test("a trigger while masked is delivered once, on unmask", arguments: GroupKind.allCases)
    func triggerWhileMasked(_ kind: GroupKind) throws {
        let setup = try GroupSetup(kind)
        try setup.group.enable(setup.configurations(masked: true))
        try setup.group.trigger(0)
        try setup.group.trigger(0)
        #expect(try setup.deliveries().isEmpty)
        #expect(try setup.group.pendingState(0))
        #expect(try setup.group.pendingState(0))
        try setup.group.unmask(0)
        #expect(try setup.deliveries() == [0: 1])
    }

    @Test("a vector that starts masked remembers what the device raises", arguments: GroupKind.allCases)
    func startsMasked(_ kind: GroupKind) throws {
        let setup = try GroupSetup(kind)
        try setup.group.enable(setup.configurations(masked: true))
        setup.raise(0)
        #expect(try setup.deliveries().isEmpty)
        try setup.group.unmask(0)
        #expect(try setup.deliveries() == [0: 1])
    }

    @Test("disable forgets what was pending and keeps the masks", arguments: GroupKind.allCases)
    func disableDrains(_ kind: GroupKind) throws {
        let setup = try GroupSetup(kind)
        let group = setup.group
        try group.enable(setup.configurations())
        try group.mask(0)
        setup.raise(0)
        try group.trigger(0)
        try group.disable()
        try group.disable()
        try setup.handle()
        #expect(group.snapshot().phase == .configured)
        #expect(setup.source.now.provided == nil)
        #expect(setup.source.now.unmask == nil)
        #expect(setup.sink.attached.isEmpty)
        #expect(kind.type == .legacy || setup.sink.routes.isEmpty)

        try group.enable()
        #expect(group.snapshot().vectors.first?.isMasked == true)
        #expect(try group.pendingState(0) == false)
        try group.unmask(0)
        #expect(try setup.deliveries().isEmpty)
    }

    @Test("update of a live vector is one commit, none if unchanged", arguments: GroupKind.routed)
    func updateLive(_ kind: GroupKind) throws {
        let setup = try GroupSetup(kind)
        let group = setup.group
        try group.enable(setup.configurations())
        setup.calls.restart()
        let changed = setup.configurations(data: 0x60)
        try group.update(2, changed[2])
        try group.update(2, changed[2])
        // An MSI block has one pair: one commit changes all of it.
        let numbers = kind == .block ? (0..<4).map { group.base + $0 } : [group.base + 2]
        #expect(setup.calls.names == ["commit \(numbers)"])
        #expect(setup.sink.routes[group.base + 2] == .message(InterruptMessage(address: 0xfee0_0000, data: 0x62)))
        #expect(group.snapshot().phase == .live)
    }

    @Test("update of a masked vector is committed on unmask", arguments: GroupKind.routed)
    func updateMasked(_ kind: GroupKind) throws {
        let setup = try GroupSetup(kind)
        let group = setup.group
        try group.enable(setup.configurations())
        try group.mask(0..<4)
        setup.calls.restart()
        try group.update(1, setup.configurations(data: 0x60)[1])
        #expect(setup.calls.names.isEmpty)
        try group.unmask(0..<4)
        #expect(setup.calls.names.count { $0.hasPrefix("commit") } == 1)
        #expect(setup.sink.routes[group.base + 1] == .message(InterruptMessage(address: 0xfee0_0000, data: 0x61)))
    }

    @Test(
        "destroyed, every call is an error but disable and destroy", arguments: GroupKind.allCases, [true, false])
    func destroyed(_ kind: GroupKind, live: Bool) throws {
        let setup = try GroupSetup(kind)
        let group = setup.group
        if live { try group.enable(setup.configurations()) }
        group.destroy()
        group.destroy()
        try group.disable()
        #expect(throws: InterruptError.destroyed) { try group.enable(setup.configurations()) }
        #expect(throws: InterruptError.destroyed) { try group.update(0, setup.configurations()[0]) }
        #expect(throws: InterruptError.destroyed) { try group.trigger(0) }
        #expect(throws: InterruptError.destroyed) { try group.notifier(0) }
        #expect(throws: InterruptError.destroyed) { try group.resampleNotifier() }
        #expect(throws: InterruptError.destroyed) { try group.mask(0) }
        #expect(throws: InterruptError.destroyed) { try group.unmask(0) }
        #expect(throws: InterruptError.destroyed) { try group.pendingState(0) }
        #expect(group.snapshot().phase == .destroyed)
        #expect(setup.source.now.provided == nil)
        #expect(setup.sink.attached.isEmpty)
        #expect(setup.sink.released.count == (kind.hasSink && kind.type != .legacy ? 1 : 0))
    }

    @Test("a wrong index changes nothing", arguments: GroupKind.allCases, [-1, 4, Int.max, Int.min])
    func wrongIndex(_ kind: GroupKind, index: Int) throws {
        let setup = try GroupSetup(kind)
        let group = setup.group
        try group.enable(setup.configurations())
        let before = setup.standing
        setup.calls.restart()
        let error = InterruptError.noSuchVector(index: index, count: group.count)
        #expect(throws: error) { try group.update(index, setup.configurations()[0]) }
        #expect(throws: error) { try group.trigger(index) }
        #expect(throws: error) { try group.mask(index) }
        #expect(throws: error) { try group.unmask(index) }
        #expect(try group.notifier(index) == nil)
        #expect(try group.pendingState(index) == false)
        #expect(throws: InterruptError.self) { try group.mask(0..<group.count + 1) }
        #expect(throws: InterruptError.self) { try group.unmask(-2 ..< -1) }
        #expect(throws: InterruptError.self) { try group.unmask(Int.min..<Int.max) }
        #expect(throws: InterruptError.self) { try group.update(first: index, setup.configurations()) }
        #expect(throws: InterruptError.noSuchVector(index: group.count, count: group.count)) {
            try group.update(first: 0, setup.configurations() + setup.configurations())
        }
        #expect(setup.calls.names.isEmpty)
        #expect(setup.standing == before)
    }

    @Test("a wrong kind or number of configurations changes nothing", arguments: GroupKind.allCases)
    func wrongConfigurations(_ kind: GroupKind) throws {
        let setup = try GroupSetup(kind)
        let group = setup.group
        let good = setup.configurations()
        #expect(throws: InterruptError.wrongConfigurationCount(given: 0, needed: group.count)) { try group.enable([]) }
        let many = good + good + good
        #expect(throws: InterruptError.wrongConfigurationCount(given: many.count, needed: group.count)) {
            try group.enable(many)
        }
        let other = InterruptConfiguration(
            message: kind.type == .legacy ? InterruptMessage(address: 0, data: 0) : nil)
        if kind.type == .legacy || kind.hasSink {
            #expect(throws: InterruptError.wrongConfigurationKind(kind.type)) {
                try group.enable(Array(repeating: other, count: group.count))
            }
            #expect(throws: InterruptError.wrongConfigurationKind(kind.type)) { try group.update(0, other) }
        }
        #expect(group.snapshot().phase == .configured)
        #expect(setup.calls.names.isEmpty)
    }
}
