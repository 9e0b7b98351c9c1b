import InterruptSources
import KVMInterrupts
import LinuxSystem
import TestSupport
import Testing

/// Tables of 2,048 vectors, of which a host has room for some hundreds.
@Suite("Large tables on a real KVM", .enabled(if: Requirements.kvm, "needs /dev/kvm"), .serialized)
struct TableTests {
    private static let large = Stand.tables.filter { [.softwareTable, .softwareFixedTable, .nvmeTable].contains($0) }
    private static let window = 256

    @Test("vectors anywhere in the table are wired at first unmask, the others take nothing", arguments: large)
    func lazy(_ stand: Stand) throws {
        let bench = try StandBench(stand, count: 2048)
        let group = bench.group
        try group.enable(bench.configurations(masked: true))
        #expect(bench.guest.kernel.count("KVM_IRQFD") == 0)
        let routes = bench.guest.kernel.routes
        let chosen = [2047, 0, 1023, 1, 255, 256, 1500, 2046]
        for index in chosen {
            try group.unmask(index)
            try bench.expectRaised(index)
        }
        for index in chosen { try bench.expectRaised(index) }
        #expect(bench.guest.kernel.count("KVM_IRQFD") == chosen.count)
        #expect(bench.guest.kernel.routes == max(routes, 40) + chosen.count)
        #expect(group.snapshot().vectors.count { $0.isWired } == chosen.count)
        try group.mask(1500)
        let total = bench.deliveries
        try bench.raiser.raise(1500)
        try bench.expectQuiet(total)
        try bench.expectOne(1500) { try group.unmask(1500) }
    }

    @Test("all 2,048 vectors deliver, one window after the other", arguments: large)
    func windows(_ stand: Stand) throws {
        let bench = try StandBench(stand, count: 2048, hostVectors: TableTests.window)
        let group = bench.group
        try group.enable(bench.configurations(masked: true))
        for first in stride(from: 0, to: 2048, by: TableTests.window) {
            let window = first..<first + TableTests.window
            try group.unmask(window)
            for index in window { try bench.raiser.raise(index) }
            #expect(
                eventually { bench.deliveries == window.upperBound },
                "\(bench.deliveries) delivered up to vector \(window.upperBound)")
            try group.mask(window, releasing: true)
            try bench.guest.fence()
        }
        let expected = UInt32(2048 / TableTests.window)
        #expect((0..<TableTests.window).allSatisfy { bench.guest.count($0) == expected })
        #expect(bench.guest.kernel.routes == 40)
    }

    @Test(
        "a host that runs out says asked and available; that many can be had, and those wired go on", arguments: large)
    func exhausted(_ stand: Stand) throws {
        let bench = try StandBench(stand, count: 2048, vcpus: 4, hostVectors: 300)
        let group = bench.group
        try group.enable(bench.configurations(masked: true))
        try group.unmask(0..<4)
        for index in 0..<4 { try bench.expectRaised(index) }
        let asked = 4..<2048
        let error = #expect(throws: InterruptError.self) { try group.unmask(asked) }
        guard case .hostExhausted(asked: asked.count, let available) = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(available > 100 && available < 1000, "available \(available)")
        #expect(group.snapshot().vectors.count { !$0.isMasked } == 4)
        for index in 0..<4 { try bench.expectRaised(index) }

        let fitting = 4..<4 + available
        try group.unmask(fitting)
        var total = bench.deliveries
        for index in 0..<fitting.upperBound { try bench.raiser.raise(index) }
        total += fitting.upperBound
        #expect(eventually { bench.deliveries == total }, "\(bench.deliveries) of \(total)")
        // And beyond it nothing, which harms nobody.
        #expect(throws: InterruptError.self) { try group.unmask(fitting.upperBound..<2048) }
        try bench.expectRaised(0)
        try bench.expectRaised(fitting.upperBound - 1)

        // One that is given back is one to be had.
        try group.mask(fitting, releasing: true)
        try group.unmask(2040..<2048)
        try bench.expectRaised(2047)
        try bench.expectRaised(3)
    }

    @Test("numbers run out by name, and a smaller group is the way out", arguments: large)
    func numbers(_ stand: Stand) throws {
        let bench = try StandBench(stand, count: 2048)
        let other = FakeInterruptSource(.msix, count: 2048)
        let error = #expect(throws: InterruptError.self) {
            try InterruptSourceGroup(source: other, sink: bench.guest.sink)
        }
        guard case .numbersExhausted(asked: 2048, let available) = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        let smaller = try InterruptSourceGroup(source: other, sink: bench.guest.sink, count: available)
        try smaller.enable(
            (0..<available).map { InterruptConfiguration(message: bench.guest.message($0 % 256), startsMasked: $0 > 0) }
        )
        try bench.group.enable(bench.configurations(masked: true))
        try bench.group.unmask(5)
        try bench.expectRaised(5)
        try bench.expectOne(0) { other.raise(0) }
        smaller.destroy()
        try bench.expectRaised(5)
    }
}
