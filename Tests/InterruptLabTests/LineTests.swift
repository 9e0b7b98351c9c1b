import InterruptSources
import LinuxSystem
import TestSupport
import Testing

/// T9: the level-triggered line, whose interrupt is over when the guest's driver has taken its cause away.
@Suite("T9: lines on a real KVM", .enabled(if: Requirements.kvm, "needs /dev/kvm"), .serialized)
struct LineTests {
    /// The stands that have a level: VFIO's loopback has none.
    private static let levels = Stand.lines.filter { $0 != .e1000eLine }

    @Test("T9: raised, handled, ended, again and again: each level is one interrupt", arguments: levels)
    func cycles(_ stand: Stand) throws {
        let bench = try StandBench(stand, vcpus: 1)
        try bench.group.enable(bench.configurations())
        let cycles = TestLength.levelCycles(stand == .eduLine ? 10_000 : 500)
        for cycle in 1...cycles {
            try bench.raiser.raise(0)
            let handled = eventually { bench.guest.line == cycle }
            #expect(handled, "level \(cycle)")
            if !handled { break }
            try bench.finishLine()
        }
        try bench.guest.fence()
        #expect(bench.guest.line == cycles)
        if stand == .eduLine { #expect(bench.guest.served(0) == cycles) }
    }

    @Test("T9: a level that goes away while masked gives nothing on unmask", arguments: levels)
    func withdrawnWhileMasked(_ stand: Stand) throws {
        let bench = try StandBench(stand, vcpus: 1)
        let group = bench.group
        try group.enable(bench.configurations())
        for _ in 0..<20 {
            try bench.expectRaised(0)
            let total = bench.deliveries
            try group.mask(0)
            try bench.raiser.raise(0)
            #expect(try group.pendingState(0))
            try bench.expectQuiet(total)
            try bench.withdraw()
            #expect(try group.pendingState(0) == false)
            try group.unmask(0)
            try bench.expectQuiet(total)
        }
        try bench.expectRaised(0)
    }

    @Test("T9: a level that stays is one interrupt on unmask", arguments: levels)
    func keptWhileMasked(_ stand: Stand) throws {
        let bench = try StandBench(stand, vcpus: 1)
        let group = bench.group
        try group.enable(bench.configurations(masked: true))
        for _ in 0..<20 {
            let total = bench.deliveries
            try bench.raiser.raise(0)
            #expect(try group.pendingState(0))
            try bench.expectQuiet(total)
            try bench.expectOne(0) { try group.unmask(0) }
            #expect(try group.pendingState(0) == false)
            try bench.expectRaised(0)
            try group.mask(0)
        }
    }

    @Test("T9: masked while the guest's handler runs, the level is not asserted again", arguments: levels)
    func maskedWhileHandled(_ stand: Stand) throws {
        let bench = try StandBench(stand, vcpus: 1)
        let (group, guest) = (bench.group, bench.guest)
        try group.enable(bench.configurations())
        for _ in 0..<20 {
            let before = guest.line
            // The handler waits before it looks at the device.
            guest.permit(before)
            try bench.raiser.raise(0)
            #expect(eventually { guest.line == before + 1 })
            // Raised again before its end: it is the same level.
            try bench.raiser.raise(0)
            try group.mask(0)
            try bench.withdraw()
            guest.permit(.max)
            #expect(eventually { guest.completed == guest.line })
            try group.unmask(0)
            try bench.expectQuiet(Int(before) + 1)
            if stand == .softwareLine { guest.permit(guest.line) }
            try bench.expectRaised(0)
        }
    }

    @Test("T9: disabled while asserted and enabled again, a level that stayed is one interrupt", arguments: levels)
    func disabledWhileAsserted(_ stand: Stand) throws {
        let bench = try StandBench(stand, vcpus: 1)
        let (group, guest) = (bench.group, bench.guest)
        for round in 0..<10 {
            try group.enable(bench.configurations())
            try bench.expectRaised(0)
            let before = guest.line
            guest.permit(before)
            try bench.raiser.raise(0)
            #expect(eventually { guest.line == before + 1 })
            try group.disable()
            if round % 2 == 0 { try bench.withdraw() }
            guest.permit(.max)
            #expect(eventually { guest.completed == guest.line })
            // What the handler finds it takes away, if it can reach the device.
            if stand == .softwareLine { try bench.withdraw() }
            try bench.expectQuiet(Int(before) + 1)
            if stand == .softwareLine { guest.permit(guest.line) }
        }
        try group.enable(bench.configurations())
        try bench.expectRaised(0)
    }

    // A KVM that ends a real-mode guest's interrupt when it injects it, as one below another hypervisor may, lets the
    // next level in before the handler has run: then nobody can say which of two levels was handled.
    @Test(
        "T5: a line that is raised as fast as it is handled, against mask and unmask",
        .enabled(if: Requirements.vfioLab, "needs the lab"))
    func race() throws {
        let bench = try StandBench(.eduLine, vcpus: 1)
        let (group, guest) = (bench.group, bench.guest)
        try group.enable(bench.configurations())
        let raiser = try FreeRaiser(bench.raiser, [0])
        guest.permit(.max)
        try TestLength.race(100) { _ in
            try group.mask(0)
            try guest.fence()
            let masked = guest.line
            try raiser.wait(for: 3)
            try guest.fence()
            #expect(guest.line == masked, "delivered while masked")
            #expect(try group.pendingState(0))
            try group.unmask(0)
            #expect(eventually { guest.line != masked }, "nothing after unmask")
            #expect(Int(guest.served(0)) <= (try raiser.most))
            try raiser.wait(for: 3)
        }
        try raiser.stop()
        try bench.withdraw()
        var quiet = 0
        while quiet < 100 {
            let before = guest.completed
            try guest.fence()
            quiet = guest.completed == before ? quiet + 1 : 0
        }
        for _ in 0..<5 { try bench.expectRaised(0) }
    }
}
