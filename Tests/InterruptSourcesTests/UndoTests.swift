import InterruptSources
import LinuxSystem
import SystemPackage
import TestSupport
import Testing

/// Every kernel call of every operation fails once: the operation throws that error, and all is as it was before.
@Suite("Interrupt source group undo")
struct UndoTests {
    enum Operation: String, CaseIterable {
        case enable, enableMasked, disable, update, mask, release, unmask, grow, enlarge
        case handOut, handIn, handInMasked, handBack, resample, resampleMasked

        /// Brings a fresh group to where the operation has something to do.
        func prepare(_ setup: GroupSetup) throws {
            let group = setup.group
            switch self {
            case .enable, .enableMasked: return
            case .disable, .update:
                try group.enable(setup.configurations())
                if group.count > 1 { try group.mask(1) }
            case .mask, .release:
                try group.enable(setup.configurations())
                if group.count > 2 { try group.mask(2) }
            case .unmask:
                try group.enable(setup.configurations())
                try group.mask(0..<group.count)
                setup.raise(0)
                if group.count > 3 { try group.trigger(3) }
            case .handIn, .resample:
                try group.enable(setup.configurations())
            case .handOut, .handInMasked, .resampleMasked:
                try group.enable(setup.configurations())
                try group.mask(group.count / 2..<group.count)
                setup.raise(group.count - 1)
            case .handBack:
                try group.setNotifiers(first: 0, try (0..<group.count).map { _ in try EventFD() })
                try group.enable(setup.configurations())
                try group.mask(group.count / 2..<group.count)
                setup.raise(group.count - 1)
            case .grow:
                var configurations = setup.configurations(masked: true)
                configurations[0].startsMasked = false
                try group.enable(configurations)
            case .enlarge:
                if group.type != .msi { return }
                try group.enable(Array(setup.configurations().prefix(2)))
                try group.mask(1)
                setup.raise(1)
            }
        }

        func run(_ setup: GroupSetup) throws {
            let group = setup.group
            switch self {
            case .enable: try group.enable(setup.configurations())
            case .enableMasked: try group.enable(setup.configurations(masked: true))
            case .disable: try group.disable()
            case .update: try group.update(0, setup.configurations(data: 0x60)[0])
            case .mask: try group.mask(0..<group.count)
            case .release: try group.mask(0..<group.count, releasing: true)
            case .unmask, .grow: try group.unmask(0..<group.count)
            case .enlarge: if group.type == .msi { try group.enlarge(setup.configurations()) }
            case .handOut: _ = try group.notifier(group.count - 1)
            case .handIn, .handInMasked:
                try group.setNotifiers(first: 0, try (0..<group.count).map { _ in try EventFD() })
            case .handBack: try group.setNotifiers(first: 0, (0..<group.count).map { _ in nil })
            case .resample, .resampleMasked: if group.type == .legacy { try group.setResampleNotifier(try EventFD()) }
            }
        }
    }

    @Test("T3: a step that fails leaves all as it was", arguments: GroupKind.allCases, Operation.allCases)
    func oneFailure(_ kind: GroupKind, _ operation: Operation) throws {
        var step = 0
        while true {
            let setup = try GroupSetup(kind)
            try operation.prepare(setup)
            let before = setup.standing
            setup.calls.restart(failing: step)
            do {
                try operation.run(setup)
                #expect(step == setup.calls.names.count, "every call was told to fail once")
                break
            } catch let error as InterruptError {
                #expect(error == FakeInterruptSource.failure || error == FakeInterruptSink.failure)
            }
            let taken = setup.calls.names
            setup.calls.restart()
            // What an unmask has delivered before it failed stays delivered, and is not pending any more.
            var delivered = try setup.deliveries()
            if delivered.isEmpty { #expect(setup.standing == before, "step \(step) of \(taken)") }
            #expect(delivered.isEmpty || operation == .unmask && taken.last?.hasPrefix("loopback") != nil)

            try operation.run(setup)
            delivered.merge(try setup.deliveries(), uniquingKeysWith: +)
            if operation == .unmask { #expect(delivered == (kind.type == .legacy ? [0: 1] : [0: 1, 3: 1])) }
            step += 1
        }
    }

    @Test(
        "T3: where undo fails too, the snapshot says what is wired", arguments: GroupKind.allCases,
        Operation.allCases)
    func nothingWorks(_ kind: GroupKind, _ operation: Operation) throws {
        for step in 0..<4 {
            let setup = try GroupSetup(kind)
            try operation.prepare(setup)
            setup.calls.restart(failing: step, always: true)
            try? operation.run(setup)
            setup.calls.restart()
            let wired = setup.group.snapshot().vectors.filter(\.isWired).map(\.index)
            #expect(wired == setup.source.now.wired.keys.sorted())

            setup.group.destroy()
            #expect(setup.source.now.provided == nil)
            #expect(setup.sink.attached.isEmpty)
            #expect(kind.type == .legacy || setup.sink.routes.isEmpty)
        }
    }

    @Test(
        "Bad input: out of descriptors, whichever eventfd it is, all is as it was", arguments: GroupKind.allCases,
        Operation.allCases)
    func outOfDescriptors(_ kind: GroupKind, _ operation: Operation) throws {
        var step = 0
        while true {
            let setup = try GroupSetup(kind)
            try operation.prepare(setup)
            let before = setup.standing
            let count = setup.eventFDs.count
            setup.eventFDs.calls.restart(failing: step)
            do {
                try operation.run(setup)
                #expect(step == setup.eventFDs.calls.names.count)
                return
            } catch let error as InterruptError {
                #expect(error == .kernel(KernelError("eventfd", .tooManyOpenFiles)))
            }
            setup.eventFDs.calls.restart()
            #expect(setup.standing == before, "step \(step)")
            #expect(setup.eventFDs.count == count, "step \(step)")
            try operation.run(setup)
            step += 1
        }
    }

    @Test("a group that could neither be enabled nor cleaned up can still be enabled", arguments: GroupKind.allCases)
    func recovers(_ kind: GroupKind) throws {
        for step in 0..<6 {
            let setup = try GroupSetup(kind)
            setup.calls.restart(failing: step, always: true)
            try? setup.group.enable(setup.configurations())
            setup.calls.restart()
            try setup.group.enable(setup.configurations())
            _ = try setup.deliveries()
            try setup.group.trigger(0)
            #expect(try setup.deliveries() == [0: 1])
        }
    }
}
