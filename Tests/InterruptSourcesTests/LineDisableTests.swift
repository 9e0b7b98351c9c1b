import InterruptSources
import TestSupport
import Testing

/// A guest disables INTx in its Command register: VFIO masks the line with it, and unmasks it when the bit is cleared,
/// whatever mask the group had set.
@Suite("INTx disable in the Command register")
struct LineDisableTests {
    private static let lines: [GroupKind] = [.line, .lineHandedOut]

    @Test("T9: command bit 10 set, nothing arrives; cleared, a level still there arrives once", arguments: lines)
    func live(_ kind: GroupKind) throws {
        let setup = try GroupSetup(kind)
        try setup.group.enable()
        for isStillThere in [true, false] {
            setup.source.setLine(disabled: true)
            setup.raise(0)
            try setup.group.trigger(0)
            #expect(try setup.deliveries().isEmpty)
            if !isStillThere { setup.source.setLine(asserted: false) }
            setup.source.setLine(disabled: false)
            #expect(try setup.deliveries() == (isStillThere ? [0: 1] : [:]))
            try setup.handle()
            #expect(try setup.deliveries().isEmpty)
            setup.raise(0)
            #expect(try setup.deliveries() == [0: 1])
            try setup.handle()
        }
    }

    @Test("T9: command bit 10 set and cleared does not lift the group's mask", arguments: lines, [true, false])
    func masked(_ kind: GroupKind, startsMasked: Bool) throws {
        let setup = try GroupSetup(kind)
        try setup.group.enable([InterruptConfiguration(startsMasked: startsMasked)])
        try setup.group.mask(0)
        for _ in 0..<3 {
            setup.source.setLine(disabled: true)
            setup.source.setLine(disabled: false)
            setup.raise(0)
            setup.source.setLine(disabled: true)
            #expect(try setup.group.pendingState(0) == false)
            setup.source.setLine(disabled: false)
            #expect(try setup.deliveries().isEmpty)
            #expect(try setup.group.pendingState(0))
            setup.source.setLine(asserted: false)
            #expect(try setup.group.pendingState(0) == false)
        }
        try setup.group.unmask(0)
        #expect(try setup.deliveries().isEmpty)
        setup.raise(0)
        #expect(try setup.deliveries() == [0: 1])
    }

    @Test("T9: unmasked behind command bit 10, a level arrives once when the bit is cleared", arguments: lines)
    func unmasked(_ kind: GroupKind) throws {
        let setup = try GroupSetup(kind)
        try setup.group.enable()
        try setup.group.mask(0)
        setup.raise(0)
        try setup.group.trigger(0)
        setup.source.setLine(disabled: true)
        try setup.group.unmask(0)
        #expect(try setup.deliveries().isEmpty)
        setup.source.setLine(disabled: false)
        #expect(try setup.deliveries() == [0: 1])
        try setup.handle()
        #expect(try setup.deliveries().isEmpty)
        #expect(setup.source.now.isLineMasked == false)
    }

    @Test("T9: enabled while command bit 10 is set, a level arrives once when it is cleared", arguments: lines)
    func enabled(_ kind: GroupKind) throws {
        let setup = try GroupSetup(kind)
        setup.source.setLine(disabled: true)
        setup.raise(0)
        try setup.group.enable()
        #expect(try setup.deliveries().isEmpty)
        setup.source.setLine(disabled: false)
        #expect(try setup.deliveries() == [0: 1])
        try setup.handle()
        #expect(try setup.deliveries().isEmpty)
    }
}
