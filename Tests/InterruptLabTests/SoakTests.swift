import Glibc
import InterruptSources
import KVMInterrupts
import LinuxSystem
import TestSupport
import Testing

/// T13: the same again and again, after which nothing may be left over.
@Suite("T13: cycles on a real KVM", .enabled(if: Requirements.kvm, "needs /dev/kvm"), .serialized)
struct SoakTests {
    private static let single: [Stand] = Stand.here.filter {
        [.softwareTable, .eduLine, .eduMessage, .e1000eTable, .nvmeTable].contains($0)
    }
    private static let large = Stand.tables.filter { [.softwareTable, .nvmeTable].contains($0) }
    private static let window = 256

    @Test("T13: one vector enabled and disabled, in one group and in one group after the other", arguments: single)
    func cycles(_ stand: Stand) throws {
        let bench = try StandBench(stand, count: 1, vcpus: 1)
        let standing = Standing(bench)
        let cycles = TestLength.cycles(200)
        for cycle in 0..<cycles {
            try bench.group.enable(bench.configurations())
            // Each tenth is seen to work: a raise takes longer than all else.
            if cycle % 10 == 0 { try bench.expectRaised(0) }
            try bench.group.disable()
        }
        bench.group.destroy()
        for cycle in 0..<cycles {
            let group = try bench.anotherGroup(count: 1)
            try group.enable(bench.configurations())
            if cycle % 10 == 0 { try bench.expectOne(0) { try group.trigger(0) } }
            // Some are given up while they are live.
            if cycle % 2 == 0 { try group.disable() }
            group.destroy()
        }
        try standing.expectAsBefore()
    }

    @Test("T13: a full window enabled and disabled", arguments: large)
    func windows(_ stand: Stand) throws {
        let bench = try StandBench(stand, count: SoakTests.window)
        let standing = Standing(bench)
        for cycle in 0..<TestLength.windowCycles(5) {
            let before = bench.deliveries
            try bench.group.enable(bench.configurations())
            for index in 0..<SoakTests.window { try bench.raiser.raise(index) }
            #expect(eventually { bench.deliveries == before + SoakTests.window }, "cycle \(cycle)")
            try bench.group.disable()
        }
        bench.group.destroy()
        try standing.expectAsBefore()
    }

    /// What a machine and this process have in use.
    private struct Standing {
        let bench: StandBench
        let descriptors: Int?
        let vectors: Int

        init(_ bench: StandBench) {
            self.bench = bench
            descriptors = Standing.openDescriptors
            vectors = Standing.hostVectors
        }

        func expectAsBefore() throws {
            #expect(Standing.openDescriptors == descriptors, "descriptors")
            #expect(Standing.hostVectors == vectors, "interrupt lines of the host that have a handler")
            #expect(bench.guest.kernel.routes <= 40, "only the routes of the pins are left")
            // A number that still had a route would not be free.
            let all = try bench.guest.sink.reserve(4056)
            #expect(all == 24)
            bench.guest.sink.release(all..<all + 4056)
        }

        /// Only in the lab is nobody else in this process.
        private static var openDescriptors: Int? {
            Requirements.vfioLab ? (0..<4096).count { fcntl($0, F_GETFD) >= 0 } : nil
        }

        private static var hostVectors: Int {
            let text = Requirements.vfioLab ? try? readText("/proc/interrupts", limit: 4 << 20) : nil
            return text?.split(separator: "\n").count { $0.contains("vfio") } ?? 0
        }
    }
}
