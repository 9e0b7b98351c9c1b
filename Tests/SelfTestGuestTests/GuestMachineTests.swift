import LinuxSystem
import SelfTestProtocol
import SystemPackage
import TestSupport
import Testing

@testable import SelfTestGuest

@Suite("The self-test guest's machine", .enabled(if: Requirements.kvm, "needs /dev/kvm"))
struct GuestMachineTests {
    @Test(
        "an eventfd's event arrives once, on its own slot, for one slot and for many virtual CPUs",
        arguments: [1, 2, 32, 220, 221, 440])
    func edges(slots: Int) async throws {
        let bench = try GuestBench(slots: slots)
        try bench.machine.connect(first: 0, bench.notifiers)
        for round in 1...2 as ClosedRange<UInt32> {
            for slot in 0..<slots {
                #expect(try bench.raise(slot))
                #expect(bench.counters.count(ofSlot: slot) == round)
            }
            #expect(bench.counts.allSatisfy { $0 == round })
        }
        #expect(bench.counters.strays() == 0)
        #expect(bench.counters.exceptions() == 0)
        #expect(bench.machine.exits.isEmpty)
        await bench.machine.stop()
    }

    @Test("a level is counted once, and its end is signalled once to the resample eventfd")
    func level() async throws {
        let bench = try GuestBench(.level)
        let resample = try EventFD()
        try bench.machine.connect(first: 0, bench.notifiers, resample: resample)
        for round in 1...50 as ClosedRange<UInt32> {
            #expect(try bench.raise(0))
            #expect(bench.counters.count(ofSlot: 0) == round)
            // That it is not signalled before cannot be asked everywhere: kvm_pvm ends an interrupt of real mode by
            // itself when it injects it.
            bench.counters.acknowledge(round)
            #expect(eventually { resample.isSignalled })
            #expect(resample.drain() == 1)
            #expect(eventually { bench.counters.completed() == round })
        }
        #expect(bench.counts == [50])
        #expect(bench.counters.strays() == 0)
        await bench.machine.stop()
    }

    @Test("an event while the level is asserted is asserted again after the guest's end of interrupt")
    func levelAgain() async throws {
        let bench = try GuestBench(.level)
        let resample = try EventFD()
        try bench.machine.connect(first: 0, bench.notifiers, resample: resample)
        #expect(try bench.raise(0))
        try bench.notifiers[0].signal()
        bench.counters.acknowledge(1)
        #expect(eventually { resample.drain() == 1 })
        try bench.notifiers[0].signal()
        #expect(eventually { bench.counters.count(ofSlot: 0) >= 2 })
        bench.counters.acknowledge(.max)
        #expect(eventually { resample.isSignalled })
        await bench.machine.stop()
    }

    @Test("after disconnect nothing is delivered, and the next window begins with slot 0 again")
    func windows() async throws {
        let bench = try GuestBench(slots: 3)
        try bench.machine.connect(first: 0, bench.notifiers)
        for slot in 0..<3 { #expect(try bench.raise(slot)) }
        try bench.machine.disconnect(first: 1, count: 2)
        try bench.notifiers[1].signal()
        try bench.notifiers[2].signal()
        try bench.settle(with: 0)
        #expect(bench.counts == [2, 1, 1])

        let next = [try EventFD(), try EventFD()]
        try bench.machine.disconnect(first: 0, count: 1)
        try bench.machine.connect(first: 0, next)
        try next[0].signal()
        #expect(eventually { bench.counts[0] == 3 })
        try next[1].signal()
        #expect(eventually { bench.counts[1] == 2 })
        #expect(bench.counts == [3, 2, 1])
        await bench.machine.stop()
    }

    @Test("a window of all slots of a virtual CPU can be connected again and again")
    func manyWindows() async throws {
        let bench = try GuestBench(slots: 220)
        for round in 1...3 as ClosedRange<UInt32> {
            try bench.machine.connect(first: 0, bench.notifiers)
            #expect(try bench.raise(219))
            #expect(bench.counts[219] == round)
            try bench.machine.disconnect(first: 0, count: 220)
        }
        await bench.machine.stop()
    }

    @Test("swapped routes show as an arrival on the other slot")
    func swappedRoutes() async throws {
        let bench = try GuestBench(slots: 3, fault: .swapRoutes)
        try bench.machine.connect(first: 0, bench.notifiers)
        try bench.notifiers[0].signal()
        #expect(eventually { bench.counts == [0, 1, 0] })
        try bench.notifiers[1].signal()
        #expect(eventually { bench.counts == [1, 1, 0] })
        await bench.machine.stop()
    }

    @Test("a dropped irqfd shows as a loss on the last slot")
    func droppedIRQFD() async throws {
        let bench = try GuestBench(slots: 3, fault: .dropIRQFD)
        try bench.machine.connect(first: 0, bench.notifiers)
        try bench.notifiers[2].signal()
        try bench.settle(with: 0)
        #expect(bench.counts == [1, 0, 0])
        try bench.machine.disconnect(first: 0, count: 3)
        await bench.machine.stop()
    }

    @Test("a dropped irqfd of a level loses it")
    func droppedLevel() async throws {
        let bench = try GuestBench(.level, fault: .dropIRQFD)
        try bench.machine.connect(first: 0, bench.notifiers, resample: try EventFD())
        try bench.notifiers[0].signal()
        // Nobody has taken the event: it is still in the eventfd.
        #expect(bench.notifiers[0].isSignalled)
        #expect(bench.counts == [0])
        await bench.machine.stop()
    }

    @Test("a shared vector shows as an arrival on the first slot")
    func sharedVector() async throws {
        let bench = try GuestBench(slots: 3, fault: .shareVector)
        try bench.machine.connect(first: 0, bench.notifiers)
        try bench.notifiers[1].signal()
        #expect(eventually { bench.counts == [1, 0, 0] })
        await bench.machine.stop()
    }

    @Test("a stopped virtual CPU loses its own slots and no others")
    func stoppedVCPU() async throws {
        let bench = try GuestBench(slots: 222, fault: .stopVCPU)
        try bench.machine.connect(first: 0, bench.notifiers)
        for slot in 0..<220 { try bench.notifiers[slot].signal() }
        #expect(try bench.raise(220))
        #expect(try bench.raise(221))
        #expect(bench.counts[..<220].allSatisfy { $0 == 0 })
        await bench.machine.stop()
    }

    @Test("a slot that is connected twice, or out of range, is refused and changes nothing")
    func refusedSlots() async throws {
        let bench = try GuestBench(slots: 2)
        try bench.machine.connect(first: 0, [bench.notifiers[0]])
        #expect(throws: GuestFailure.self) { try bench.machine.connect(first: 0, bench.notifiers) }
        #expect(throws: GuestFailure.self) { try bench.machine.connect(first: 1, bench.notifiers) }
        #expect(throws: GuestFailure.self) { try bench.machine.connect(first: -1, bench.notifiers) }
        #expect(throws: GuestFailure.self) { try bench.machine.connect(first: .max, bench.notifiers) }
        #expect(throws: GuestFailure.self) { try bench.machine.connect(first: 0, []) }
        #expect(throws: GuestFailure.self) { try bench.machine.disconnect(first: 1, count: .max) }
        try bench.machine.connect(first: 1, [bench.notifiers[1]])
        #expect(try bench.raise(0))
        #expect(try bench.raise(1))
        #expect(bench.counts == [1, 1])
        await bench.machine.stop()
    }

    @Test("an eventfd that cannot get an irqfd takes the whole batch back")
    func failedBatch() async throws {
        let bench = try GuestBench(slots: 3)
        let doubled = [bench.notifiers[0], bench.notifiers[1], bench.notifiers[0]]
        let failure = #expect(throws: GuestFailure.self) { try bench.machine.connect(first: 0, doubled) }
        #expect(failure?.kernelError.errno == .resourceBusy)
        try bench.machine.connect(first: 0, bench.notifiers)
        for slot in 0..<3 { #expect(try bench.raise(slot)) }
        #expect(bench.counts == [1, 1, 1])
        await bench.machine.stop()
    }

    @Test("sizes that make no guest are named")
    func sizes() throws {
        let impossible: [(GuestDelivery, Int, GuestFault?)] = [
            (.level, 2, nil), (.edge, 1, .swapRoutes), (.edge, 1, .shareVector), (.level, 1, .swapRoutes),
        ]
        for (delivery, slots, fault) in impossible {
            let failure = #expect(throws: GuestFailure.self) { try GuestBench(delivery, slots: slots, fault: fault) }
            #expect(failure?.kernelError.errno == .invalidArgument)
            #expect(failure?.hint.isEmpty == false)
        }
    }
}
