import InterruptSources
import LinuxSystem
import TestSupport
import Testing

/// The contract's table as data: what each call does to vector 0 in each state, for every kind of group.
@Suite("Interrupt source group state table")
struct StateTableTests {
    enum State: String, CaseIterable {
        case configured, configuredMasked, live, masked, pending, destroyed

        /// Brings a fresh group into the state.
        func prepare(_ setup: GroupSetup) throws {
            let group = setup.group
            if self == .configuredMasked || self == .masked || self == .pending { try group.mask(0) }
            if self == .live || self == .masked || self == .pending {
                try group.enable(setup.configurations())
            } else {
                for (index, configuration) in setup.configurations().enumerated() {
                    try group.update(index, configuration)
                }
            }
            if self == .pending { try group.trigger(0) }
            if self == .destroyed { group.destroy() }
            _ = try? setup.deliveries()
        }

        static func of(_ group: InterruptSourceGroup) throws -> State {
            let snapshot = group.snapshot()
            let vector = try #require(snapshot.vectors.first)
            switch snapshot.phase {
            case .destroyed: return .destroyed
            case .configured: return vector.isMasked ? .configuredMasked : .configured
            case .live where !vector.isMasked: return .live
            case .live: return vector.isPending ? .pending : .masked
            }
        }
    }

    enum Call: String, CaseIterable {
        case enable, enableSame, enableOthers, disable, update, updateMany, mask, unmask, trigger, pendingState
        case notifier, setNotifier, resampleNotifier, setResampleNotifier, destroy

        /// Makes the call; the value of those that have one.
        func make(_ setup: GroupSetup) throws -> Bool? {
            let group = setup.group
            switch self {
            case .enable: try group.enable()
            case .enableSame: try group.enable(setup.configurations())
            case .enableOthers: try group.enable(setup.configurations(data: 0x80, masked: false))
            case .disable: try group.disable()
            case .update: try group.update(0, setup.configurations(data: 0x60)[0])
            case .updateMany: try group.update(first: 0, setup.configurations(data: 0x60))
            case .mask: try group.mask(0)
            case .unmask: try group.unmask(0)
            case .trigger: try group.trigger(0)
            case .pendingState: return try group.pendingState(0)
            case .notifier: return try group.notifier(0) != nil
            case .setNotifier: try group.setNotifier(0, try EventFD())
            case .resampleNotifier: return try group.resampleNotifier() != nil
            case .setResampleNotifier: try group.setResampleNotifier(try EventFD())
            case .destroy: group.destroy()
            }
            return nil
        }
    }

    struct Outcome: Equatable {
        var state: State
        var delivered = 0
        var error: InterruptError?
        var value: Bool?
    }

    /// The contract.
    static func outcome(_ call: Call, _ state: State, _ kind: GroupKind) -> Outcome {
        var outcome = Outcome(state: state)
        let isLive = [.live, .masked, .pending].contains(state)
        if state == .destroyed {
            outcome.error = [.disable, .destroy].contains(call) ? nil : .destroyed
            return outcome
        }
        switch call {
        case .enable, .enableSame:
            if state == .configured { outcome.state = .live }
            if state == .configuredMasked { outcome.state = .masked }
        case .enableOthers:
            if isLive { outcome.error = .alreadyEnabled } else { outcome.state = .live }
        case .disable:
            if isLive { outcome.state = state == .live ? .configured : .configuredMasked }
        case .update, .updateMany, .setNotifier: break
        case .mask:
            if state == .configured { outcome.state = .configuredMasked }
            if state == .live { outcome.state = .masked }
        case .unmask:
            outcome.state = isLive ? .live : .configured
            outcome.delivered = state == .pending ? 1 : 0
        case .trigger:
            if !isLive { outcome.error = .notEnabled }
            if state == .live { outcome.delivered = 1 }
            if state == .masked { outcome.state = .pending }
        case .pendingState: outcome.value = state == .pending
        case .notifier: outcome.value = true
        case .resampleNotifier: outcome.value = kind.type == .legacy
        case .setResampleNotifier: if kind.type != .legacy { outcome.error = .notLevelTriggered }
        case .destroy: outcome.state = .destroyed
        }
        return outcome
    }

    @Test("T2: every call in every state", arguments: GroupKind.allCases, State.allCases)
    func everyCall(_ kind: GroupKind, _ state: State) throws {
        for call in Call.allCases {
            let setup = try GroupSetup(kind)
            try state.prepare(setup)
            #expect(try State.of(setup.group) == state)
            var outcome = Outcome(state: state)
            do {
                outcome.value = try call.make(setup)
            } catch let error as InterruptError {
                outcome.error = error
            }
            outcome.state = try State.of(setup.group)
            outcome.delivered = (try? setup.deliveries())?[0] ?? 0
            #expect(outcome == StateTableTests.outcome(call, state, kind), "\(call) while \(state)")
            guard outcome.state != .destroyed else { continue }

            // Whatever was called, one raise then gives one interrupt.
            if outcome.state == .configured || outcome.state == .configuredMasked { try setup.group.enable() }
            try setup.group.unmask(0)
            _ = try setup.deliveries()
            try setup.handle()
            setup.raise(0)
            #expect(try setup.deliveries() == [0: 1], "a raise after \(call) while \(state)")
        }
    }
}
