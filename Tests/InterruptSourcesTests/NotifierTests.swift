import InterruptSources
import LinuxSystem
import SystemPackage
import TestSupport
import Testing

/// Notifiers that somebody else has, handed out or handed in.
@Suite("Interrupt source group notifiers of others")
struct NotifierTests {
    @Test(
        "a notifier handed in is used from enable on, and one of the group's own comes back",
        arguments: GroupKind.allCases)
    func beforeEnable(_ kind: GroupKind) throws {
        let setup = try GroupSetup(kind)
        let given = try EventFD()
        try setup.group.setNotifier(0, given)
        #expect(setup.calls.names.isEmpty)
        #expect(try setup.group.notifier(0) === given)
        try setup.group.enable(setup.configurations())
        #expect(setup.source.now.wired[0] === given)
        setup.raise(0)
        #expect(try setup.deliveries() == [0: 1])
        try setup.handle()
        try setup.group.setNotifier(0, nil)
        #expect(setup.source.now.wired[0] !== given)
        #expect(setup.sink.attachments.values.allSatisfy { !$0.contains(given.rawValue) })
        setup.raise(0)
        #expect(try setup.deliveries() == [0: 1])
        #expect(given.drain() == 0)
    }

    @Test("a live vector changes its notifier as irqfd, VFIO, old irqfd", arguments: [GroupKind.table, .block, .line])
    func live(_ kind: GroupKind) throws {
        let setup = try GroupSetup(kind)
        let group = setup.group
        try group.enable(setup.configurations())
        let number = group.base
        setup.calls.restart()
        let given = try EventFD()
        try group.setNotifier(0, given)
        #expect(setup.calls.names == ["attach \(number)", "connect 0 x", "detach \(number)"])
        try group.setNotifier(0, given)
        #expect(setup.calls.names.count == 3)
        setup.calls.restart()
        try group.trigger(0)
        #expect(setup.calls.names == ["loopback 0"])
        #expect(try setup.deliveries() == [0: 1])
        setup.raise(0)
        #expect(try setup.deliveries() == [0: 1])
        setup.calls.restart()
        try group.setNotifier(0, nil)
        #expect(setup.calls.names == ["attach \(number)", "connect 0 x", "detach \(number)"])
    }

    @Test("what a notifier had counted goes back to it if the call fails, unless it was delivered before")
    func countedAndRefused() throws {
        let setup = try GroupSetup(.block)
        try setup.group.enable(setup.configurations())
        let given = try (0..<2).map { _ in try EventFD() }
        for notifier in given { try notifier.signal() }
        let before = setup.standing
        setup.calls.restart(failing: 6)
        #expect(throws: FakeInterruptSource.failure) { try setup.group.setNotifiers(first: 0, given) }
        #expect(setup.calls.names[5...6] == ["loopback 0", "loopback 1"])
        #expect(try setup.deliveries() == [0: 1])
        #expect(given.map { $0.drain() } == [0, 1] && setup.standing == before)
    }

    @Test("a range is one call for the host, and none where there is no sink and nothing is wired")
    func ranges() throws {
        let setup = try GroupSetup(.table, count: 8)
        try setup.group.enable(setup.configurations())
        try setup.group.mask(3)
        setup.calls.restart()
        let given = try (0..<6).map { _ in try EventFD() }
        try setup.group.setNotifiers(first: 1, given)
        #expect(setup.calls.names.filter { $0.hasPrefix("connect") } == ["connect 1 xx", "connect 4 xxx"])
        #expect(setup.calls.names.count { $0.hasPrefix("attach") } == 5)
        // The masked one has no irqfd any more.
        #expect(setup.calls.names.count { $0.hasPrefix("detach") } == 6)
        for index in 0..<8 where index != 3 {
            setup.raise(index)
            #expect(try setup.deliveries() == [index: 1])
        }

        let other = try GroupSetup(.tableHandedOut)
        try other.group.enable(other.configurations(masked: true))
        other.calls.restart()
        try other.group.setNotifiers(first: 0, Array(given.prefix(4)))
        #expect(other.calls.names.isEmpty)
        try other.group.unmask(2)
        #expect(other.source.now.wired[2] === given[2])
    }

    @Test(
        "masked, nothing is delivered, and what is pending cannot be taken by whoever has the notifier",
        arguments: GroupKind.messages, [false, true])
    func masked(_ kind: GroupKind, beforeMask: Bool) throws {
        let setup = try GroupSetup(kind)
        let group = setup.group
        let given = try EventFD()
        try group.enable(setup.configurations())
        if beforeMask { try group.setNotifier(1, given) }
        try group.mask(1)
        if !beforeMask {
            setup.raise(1)
            try group.setNotifier(1, given)
            #expect(try group.pendingState(1))
        }
        #expect(setup.sink.attached.contains(group.base + 1) == false)
        setup.raise(1)
        #expect(given.drain() == 0)
        #expect(try setup.deliveries().isEmpty)
        #expect(try group.pendingState(1))
        try group.unmask(1)
        #expect(try setup.deliveries() == [1: 1])
        setup.raise(1)
        #expect(try setup.deliveries() == [1: 1])
    }

    @Test("an own notifier comes back while masked with what was pending", arguments: GroupKind.messages)
    func backWhileMasked(_ kind: GroupKind) throws {
        let setup = try GroupSetup(kind)
        let group = setup.group
        try group.setNotifier(1, try EventFD())
        try group.enable(setup.configurations())
        try group.mask(1)
        setup.raise(1)
        try group.setNotifier(1, nil)
        setup.raise(1)
        #expect(try group.pendingState(1))
        try group.unmask(1)
        #expect(try setup.deliveries() == [1: 1])
        try group.mask(1)
        try group.unmask(1)
        #expect(try setup.deliveries().isEmpty)
    }

    @Test("a notifier handed out while its MSI vector counts in it keeps the count for the group")
    func handedOutWhileCounting() throws {
        let setup = try GroupSetup(.block)
        try setup.group.enable(setup.configurations())
        try setup.group.mask(2)
        setup.raise(2)
        let notifier = try #require(try setup.group.notifier(2))
        #expect(notifier.drain() == 0)
        #expect(try setup.group.pendingState(2))
        setup.raise(2)
        #expect(notifier.drain() == 0)
        try setup.group.unmask(2)
        #expect(try setup.deliveries() == [2: 1])
    }

    @Test("what a new notifier has counted is one interrupt")
    func counted() throws {
        let setup = try GroupSetup(.table)
        try setup.group.enable(setup.configurations())
        let given = try EventFD()
        for _ in 0..<3 { try given.signal() }
        try setup.group.setNotifier(0, given)
        #expect(try setup.deliveries() == [0: 1])
        #expect(try setup.deliveries().isEmpty)
    }

    @Test("a line's EOI goes where it is told, and its level is not lost", arguments: [GroupKind.line, .lineHandedOut])
    func resample(_ kind: GroupKind) throws {
        let setup = try GroupSetup(kind)
        let group = setup.group
        try group.setNotifier(0, try EventFD())
        try group.enable()
        setup.raise(0)
        #expect(try setup.deliveries() == [0: 1])
        // The guest is in its handler: the line is masked at the host until an EOI, and the old eventfd hears none.
        let given = try EventFD()
        try group.setResampleNotifier(given)
        #expect(try group.resampleNotifier() === given)
        #expect(setup.source.now.unmask === given)
        _ = try setup.deliveries()
        setup.source.setLine(asserted: false)
        try given.signal()
        setup.source.settle()
        #expect(setup.source.now.isLineMasked == false)
        setup.raise(0)
        #expect(try setup.deliveries() == [0: 1])
        try setup.handle()

        try group.mask(0)
        try group.setResampleNotifier(nil)
        #expect(setup.source.now.unmask == nil)
        try group.unmask(0)
        setup.raise(0)
        #expect(try setup.deliveries() == [0: 1])
        let own = try #require(try group.resampleNotifier())
        #expect(own !== given)
        #expect(setup.source.now.unmask === own)
        #expect(throws: InterruptError.notLevelTriggered) {
            try GroupSetup(.table).group.setResampleNotifier(given)
        }
    }

    @Test("a masked line with a notifier of somebody else's has no irqfd, and is read again on unmask")
    func maskedLine() throws {
        let setup = try GroupSetup(.line)
        try setup.group.setNotifier(0, try EventFD())
        try setup.group.enable()
        setup.raise(0)
        #expect(try setup.deliveries() == [0: 1])
        setup.calls.restart()
        try setup.group.mask(0)
        #expect(setup.calls.names == ["clear unmask", "MASK", "connect 0 x", "detach 11"])
        setup.calls.restart()
        try setup.group.unmask(0)
        #expect(setup.calls.names == ["MASK", "attach 11", "connect 0 x", "set unmask", "UNMASK"])
        #expect(try setup.deliveries() == [0: 1])
    }

    @Test("what is no eventfd is refused before it gets to a group", arguments: ["/dev/null", "/proc/self/status"])
    func noEventFD(_ path: String) throws {
        let error = #expect(throws: KernelError.self) { try EventFD(adopting: try openFile(path, .readOnly)) }
        #expect(error?.errno == .invalidArgument)
        let pair = try UnixSocket.pair(.stream)
        #expect(throws: KernelError.self) { try EventFD(adopting: try pair.first.duplicate()) }
    }

    @Test("one eventfd cannot raise two numbers: the second is refused and nothing changes")
    func twice() throws {
        let setup = try GroupSetup(.table)
        try setup.group.enable(setup.configurations())
        let given = try EventFD()
        let before = setup.standing
        let busy = InterruptError.kernel(KernelError("KVM_IRQFD", .resourceBusy))
        #expect(throws: busy) { try setup.group.setNotifiers(first: 1, [given, given]) }
        #expect(setup.standing == before)
        try setup.group.setNotifier(1, given)
        #expect(throws: busy) { try setup.group.setNotifier(2, given) }
        for index in 0..<4 {
            setup.raise(index)
            #expect(try setup.deliveries() == [index: 1])
        }
    }

    @Test("a wrong index or too many are refused, also in a group that is gone", arguments: GroupKind.allCases)
    func wrongIndex(_ kind: GroupKind) throws {
        let setup = try GroupSetup(kind)
        let group = setup.group
        let given = try EventFD()
        for index in [-1, group.count, Int.max, Int.min] {
            let error = InterruptError.noSuchVector(index: index, count: group.count)
            #expect(throws: error) { try group.setNotifier(index, given) }
        }
        #expect(throws: InterruptError.self) { try group.setNotifiers(first: 1, Array(repeating: nil, count: 4)) }
        group.destroy()
        #expect(throws: InterruptError.destroyed) { try group.setNotifier(0, given) }
        #expect(throws: InterruptError.destroyed) { try group.setResampleNotifier(given) }
    }
}
