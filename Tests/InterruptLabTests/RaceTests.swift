import InterruptSources
import LinuxSystem
import TestSupport
import Testing

/// T5: a device that raises as fast as it can, against each call that changes where its interrupts go.
///
/// In all of them: nothing is delivered where the contract says that nothing is, deliveries never exceed raises, and
/// once the device is quiet, one raise is one delivery.
@Suite("T5: races with a free-running device", .enabled(if: Requirements.kvm, "needs /dev/kvm"), .serialized)
struct RaceTests {
    private static let messages: [Stand] = Stand.messages.filter { $0 != .softwareFixedTable }
    /// What the device is given time to raise while the contract says that nothing is delivered.
    private static let some = 3

    @Test("T5: against mask and unmask", arguments: messages)
    func mask(_ stand: Stand) throws { try onSoundGuest { try maskRace(stand) } }

    private func maskRace(_ stand: Stand) throws {
        let bench = try StandBench(stand, count: 4, vcpus: 1)
        let group = bench.group
        try group.enable(bench.configurations())
        let vectors = Array(0..<group.count)
        let raiser = try FreeRaiser(bench.raiser, vectors)
        try TestLength.race(60) { round in
            let index = round % group.count
            try group.mask(index)
            try raiser.pausing { try bench.guest.fence() }
            let masked = bench.count(index)
            try raiser.wait(for: RaceTests.some * vectors.count)
            #expect(eventually { (try? group.pendingState(index)) == true }, "a raise while masked was forgotten")
            try raiser.pausing { try bench.guest.fence() }
            #expect(bench.count(index) == masked, "delivered while masked")
            try group.unmask(index)
            try raiser.pausing { try bench.guest.expect("nothing after unmask") { bench.count(index) != masked } }
            #expect(bench.deliveries <= (try raiser.most))
        }
        try finish(bench, raiser)
    }

    @Test("T5: against update", arguments: messages)
    func update(_ stand: Stand) throws { try onSoundGuest { try updateRace(stand) } }

    private func updateRace(_ stand: Stand) throws {
        let bench = try StandBench(stand, count: 4, vcpus: 1)
        let group = bench.group
        try group.enable(bench.configurations())
        let vectors = Array(0..<group.count)
        let raiser = try FreeRaiser(bench.raiser, vectors)
        var shift = 0
        try TestLength.race(80) { round in
            let index = round % group.count
            // A block moves as a whole; of a table, each vector when it is its turn.
            let next = stand.type == .msi ? (round + 1) % 4 * 32 : (round / group.count + 1) % 4 * 32
            let old = stand.type == .msi ? shift : round / group.count % 4 * 32
            try group.update(index, bench.configuration(index, shift: next))
            try raiser.pausing { try bench.guest.fence() }
            let left = bench.count(index, shift: old)
            let arrived = bench.count(index, shift: next)
            try raiser.wait(for: RaceTests.some * vectors.count)
            try raiser.pausing {
                try bench.guest.expect("nothing on the new message") { bench.count(index, shift: next) != arrived }
                try bench.guest.fence()
                #expect(bench.count(index, shift: old) == left, "delivered on the old message")
            }
            #expect(bench.deliveries <= (try raiser.most))
            shift = next
        }
        try raiser.stop()
        for index in vectors { try group.update(index, bench.configuration(index)) }
        try finish(bench, raiser)
    }

    @Test("T5: against disable and enable", arguments: messages)
    func disable(_ stand: Stand) throws { try onSoundGuest { try disableRace(stand) } }

    private func disableRace(_ stand: Stand) throws {
        let bench = try StandBench(stand, count: 4, vcpus: 1)
        let group = bench.group
        let vectors = Array(0..<group.count)
        let raiser = try FreeRaiser(bench.raiser, vectors)
        try TestLength.race(20) { round in
            let before = bench.deliveries
            // Every other time the first vector starts masked, and what it raised must not outlive a disable.
            let masked = round % 2 == 1
            try group.enable(
                bench.configurations().enumerated().map {
                    InterruptConfiguration(message: $1.message, startsMasked: $0 == 0 && masked)
                })
            try raiser.wait(for: RaceTests.some * vectors.count)
            if !masked || vectors.count > 1 {
                try bench.guest.expect("nothing after enable") { bench.deliveries > before }
            }
            try group.disable()
            try raiser.pausing { try bench.guest.fence() }
            let disabled = bench.deliveries
            try raiser.wait(for: RaceTests.some * vectors.count)
            try raiser.pausing { try bench.expectQuiet(disabled) }
            #expect(disabled <= (try raiser.most))
        }
        // What was raised while it was disabled is gone.
        try raiser.stop()
        let total = bench.deliveries
        try group.enable(bench.configurations(masked: false))
        if stand.device == nil { try bench.expectQuiet(total) }
        try finish(bench, raiser)
    }

    @Test("T5: against the masking of other vectors and of a window, and release", arguments: messages)
    func windows(_ stand: Stand) throws { try onSoundGuest { try windowsRace(stand) } }

    private func windowsRace(_ stand: Stand) throws {
        let bench = try StandBench(stand, count: 4, vcpus: 1)
        let group = bench.group
        try group.enable(bench.configurations())
        let raiser = try FreeRaiser(bench.raiser, Array(0..<group.count))
        try TestLength.race(20) { round in
            let window = 0..<max(1, group.count - 1)
            try group.mask(window, releasing: round % 2 == 1)
            try raiser.pausing { try bench.guest.fence() }
            let masked = window.map { bench.count($0) }
            try raiser.wait(for: RaceTests.some * group.count)
            try raiser.pausing { try bench.guest.fence() }
            #expect(window.map { bench.count($0) } == masked, "delivered while masked")
            try group.unmask(window)
            try raiser.wait(for: group.count)
            #expect(bench.deliveries <= (try raiser.most))
        }
        try finish(bench, raiser)
    }

    /// The device becomes quiet: every raise is then one delivery again.
    private func finish(_ bench: StandBench, _ raiser: FreeRaiser) throws {
        try raiser.stop()
        try settle(bench)
        #expect(bench.deliveries <= (try raiser.most))
        for index in 0..<bench.group.count {
            for _ in 0..<5 { try bench.expectRaised(index) }
            try bench.expectOne(index) { try bench.group.trigger(index) }
        }
    }

    /// Waits until nothing is on its way any more: what a real device has sent, a processor of the host takes when it
    /// gets to it, which is before the guest has been asked this often.
    private func settle(_ bench: StandBench) throws {
        var quiet = 0
        while quiet < 100 {
            let before = bench.deliveries
            try bench.guest.fence()
            quiet = bench.deliveries == before ? quiet + 1 : 0
        }
    }
}
