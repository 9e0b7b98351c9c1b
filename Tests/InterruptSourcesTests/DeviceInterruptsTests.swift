import InterruptSources
import LinuxSystem
import TestSupport
import Testing

/// The owner of a device's groups.
@Suite("A device's interrupts")
struct DeviceInterruptsTests {
    static let modes: [InterruptType?] = [nil] + InterruptType.allCases

    @Test("any mode can follow any other, and nothing of the old one is left", arguments: modes, modes)
    func anyToAny(_ from: InterruptType?, _ to: InterruptType?) throws {
        for hasSink in [true, false] {
            let setup = try DeviceSetup(hasSink: hasSink)
            try setup.switchTo(from)
            try setup.switchTo(to)
            try setup.switchTo(to)
            #expect(setup.owner.workingType == to)
            #expect(setup.standing.on == Set([to].compactMap { $0 }))
            for type in InterruptType.allCases where type != to {
                #expect(setup.sources[type]?.now.wired.isEmpty == true)
                #expect(setup.owner.group(type)?.phase != .live)
            }
            guard let to, let group = setup.owner.group(to) else {
                #expect(setup.sink.attached.isEmpty)
                continue
            }
            let numbers = Set(group.base..<group.base + group.count)
            #expect(setup.sink.attached == (hasSink ? numbers : []))
            #expect(Set(setup.standing.routes.keys) == (hasSink && to != .legacy ? numbers : []))
            _ = try setup.deliveries(to)
            setup.raise(to, group.count - 1)
            #expect(try setup.deliveries(to) == [group.count - 1: 1])
        }
    }

    @Test("a switch takes what the VM has to give, then swaps at the host, then gives back")
    func order() throws {
        let setup = try DeviceSetup()
        try setup.switchTo(.legacy)
        setup.calls.restart()
        try setup.switchTo(.msix)
        #expect(
            setup.calls.names == [
                "commit [24, 25, 26, 27]", "attach 24", "attach 25", "attach 26", "attach 27", "clear unmask",
                "disable", "enable xxxx", "detach 11",
            ])
        setup.calls.restart()
        try setup.switchTo(.legacy)
        #expect(
            setup.calls.names == [
                "attach 11", "disable", "enable x", "set unmask", "MASK", "UNMASK", "detach 24",
                "detach 25", "detach 26", "detach 27", "commit [24, 25, 26, 27]",
            ])
    }

    @Test("what was pending in the old mode is not delivered in it later", arguments: InterruptType.allCases)
    func forgotten(_ from: InterruptType) throws {
        let setup = try DeviceSetup()
        let to: InterruptType = from == .msix ? .msi : .msix
        try setup.switchTo(from)
        try setup.owner.group(from)?.mask(0)
        setup.raise(from, 0)
        #expect(try setup.owner.group(from)?.pendingState(0) == true)
        try setup.switchTo(to)
        try setup.handle()
        try setup.owner.switchTo(from)
        try setup.owner.group(from)?.unmask(0)
        #expect(try setup.deliveries(from).isEmpty)
    }

    @Test("a live type again: the same configurations are nothing, others an error")
    func again() throws {
        let setup = try DeviceSetup()
        try setup.switchTo(.msix)
        setup.calls.restart()
        try setup.switchTo(.msix)
        try setup.owner.switchTo(.msix)
        #expect(throws: InterruptError.alreadyEnabled) {
            try setup.owner.switchTo(.msix, setup.configurations(.msix, masked: true))
        }
        #expect(setup.calls.names.isEmpty)
        try setup.owner.switchTo(nil)
        try setup.owner.switchTo(nil)
        try setup.owner.switchTo(.msix)
        #expect(setup.owner.workingType == .msix)
    }

    @Test("a group cannot be enabled beside the one that is live, and the attempt changes nothing")
    func besides() throws {
        let setup = try DeviceSetup()
        try setup.switchTo(.msi)
        let group = try setup.owner.makeGroup(.msix)
        let before = setup.standing
        #expect(throws: InterruptError.otherTypeActive) { try group.enable(setup.configurations(.msix)) }
        #expect(setup.standing == before)
        try setup.owner.group(.msi)?.disable()
        try group.enable(setup.configurations(.msix))
        #expect(setup.owner.workingType == .msix)
    }

    @Test("the best type that can be had is taken, and said why no better one")
    func fallback() throws {
        let all = try DeviceSetup()
        let wanted = InterruptType.allCases.reduce(into: [:]) { $0[$1] = all.configurations($1) }
        #expect(try all.owner.enableBest(wanted).type == .msix)
        #expect(try all.owner.enableBest(wanted).refusals.isEmpty)

        let short = try DeviceSetup(limits: [.msix: 3, .msi: 0])
        let choice = try short.owner.enableBest(wanted)
        #expect(choice.type == .legacy)
        #expect(choice.refusals.map(\.type) == [.msix, .msi])
        #expect(
            choice.refusals.map(\.error) == [
                .hostExhausted(asked: 4, available: 3), .hostExhausted(asked: 4, available: 0),
            ])
        #expect(short.owner.workingType == .legacy)
        short.raise(.legacy, 0)
        #expect(try short.deliveries(.legacy) == [0: 1])
        // What the refused ones had reserved is given back.
        #expect(short.sink.reservedCount == 0)

        let plain = try DeviceSetup(counts: [.msi: 1])
        let single = try plain.owner.enableBest([.msix: [], .msi: plain.configurations(.msi)])
        #expect(single.refusals.map(\.error) == [.noSuchType(.msix)])
        #expect(single.type == .msi)
    }

    @Test("if no type can be had the old one stays")
    func nothingBetter() throws {
        let setup = try DeviceSetup(limits: [.msix: 0])
        try setup.switchTo(.legacy)
        let before = setup.standing
        let error = #expect(throws: InterruptError.self) {
            try setup.owner.enableBest([.msix: setup.configurations(.msix), .msi: []])
        }
        guard case .everyTypeRefused(let refusals) = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(
            refusals.map(\.error) == [
                .hostExhausted(asked: 4, available: 0), .wrongConfigurationCount(given: 0, needed: 4),
            ])
        #expect(setup.standing == before)
        #expect(throws: InterruptError.everyTypeRefused([])) { try setup.owner.enableBest([:]) }
    }

    @Test("groups are made with as many vectors as asked, once")
    func making() throws {
        let setup = try DeviceSetup(counts: [.msi: 4, .msix: 8])
        #expect(setup.owner.types == [.msix, .msi])
        #expect(setup.owner.group(.msix) == nil)
        let group = try setup.owner.makeGroup(.msix)
        #expect(try setup.owner.makeGroup(.msix) === group)
        #expect(try setup.owner.makeGroup(.msix, count: 8) === group)
        #expect(throws: InterruptError.invalidCount(.msix, 9)) { try setup.owner.makeGroup(.msix, count: 9) }
        #expect(throws: InterruptError.noSuchType(.legacy)) { try setup.owner.makeGroup(.legacy) }
        #expect(throws: InterruptError.noSuchType(.legacy)) { try setup.owner.switchTo(.legacy) }
        #expect(setup.owner.group(.msix) === group)

        let smaller = try setup.owner.makeGroup(.msix, count: 2)
        #expect(group.phase == .destroyed)
        #expect(setup.sink.reservedCount == 2)
        try setup.owner.switchTo(.msix, Array(setup.configurations(.msix).prefix(2)))
        #expect(smaller.phase == .live)
        #expect(throws: InterruptError.alreadyEnabled) { try setup.owner.makeGroup(.msix, count: 3) }
        setup.owner.destroyGroup(.msix)
        setup.owner.destroyGroup(.msix)
        #expect(setup.owner.workingType == nil)
        #expect(setup.sink.reservedCount == 0)
        #expect(setup.sources[.msix]?.now.provided == nil)

        let twice = FakeInterruptSource(.msix, count: 1)
        #expect(throws: InterruptError.wrongConfigurationKind(.msix)) {
            try DeviceInterrupts([twice, twice], sink: nil)
        }
    }

    @Test("two large tables do not fit into one VM, and a smaller one beside the first does")
    func numbers() throws {
        let sink = FakeInterruptSink(numbers: 24..<4096)
        let first = try DeviceSetup(sink: sink, counts: [.msix: 2048])
        let second = try DeviceSetup(sink: sink, counts: [.msi: 32, .msix: 2048])
        try first.owner.makeGroup(.msix)
        #expect(throws: InterruptError.numbersExhausted(asked: 2048, available: 2024)) {
            try second.owner.makeGroup(.msix)
        }
        #expect(throws: InterruptError.numbersExhausted(asked: 2048, available: 2024)) {
            try second.owner.switchTo(.msix, second.configurations(.msix))
        }
        #expect(second.owner.group(.msix) == nil)
        #expect(try second.owner.makeGroup(.msix, count: 1024).base == 2072)
        #expect(try second.owner.makeGroup(.msi).base == 3096)
        first.owner.destroy()
        #expect(try second.owner.makeGroup(.msix, count: 2048).base == 24)
    }

    @Test("a number is only given out again when its route is gone")
    func numbersWithRoutes() throws {
        let setup = try DeviceSetup(counts: [.msix: 4])
        try setup.switchTo(.msix)
        setup.calls.restart()
        setup.owner.destroyGroup(.msix)
        #expect(setup.calls.names.last == "commit [24, 25, 26, 27]")
        #expect(try setup.owner.makeGroup(.msix).base == 24)
        try setup.switchTo(.msix)
        setup.calls.restart(failing: 5, always: true)
        setup.owner.destroyGroup(.msix)
        setup.calls.restart()
        #expect(setup.sink.routes.count == 4, "the table could not be committed")
        #expect(try setup.owner.makeGroup(.msix).base == 28)
    }

    @Test("destroyed, every call is an error but destroy and a switch to none", arguments: modes)
    func destroyed(_ mode: InterruptType?) throws {
        let setup = try DeviceSetup()
        try setup.switchTo(mode)
        let group = try setup.owner.makeGroup(.msix)
        setup.owner.destroy()
        setup.owner.destroy()
        try setup.owner.switchTo(nil)
        #expect(group.phase == .destroyed)
        #expect(setup.owner.workingType == nil)
        #expect(setup.owner.group(.msix) == nil)
        #expect(throws: InterruptError.destroyed) { try setup.owner.makeGroup(.msix) }
        #expect(throws: InterruptError.destroyed) { try setup.switchTo(.msi) }
        #expect(throws: InterruptError.destroyed) {
            try setup.owner.enableBest([.msi: setup.configurations(.msi)])
        }
        #expect(setup.standing.on.isEmpty && setup.sink.attached.isEmpty && setup.sink.reservedCount == 0)
    }
}
