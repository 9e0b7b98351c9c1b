import InterruptSources
import KVM
import KVMInterrupts
import LinuxSystem
import SystemPackage
import TestSupport
import Testing

/// What KVM refuses a group: the error has its errno, nothing has changed, and the group goes on.
@Suite("What KVM refuses a group")
struct GroupRefusalTests {
    /// A virtual device's MSI-X group in a fake machine.
    private final class Setup {
        let kernel = FakeKernel()
        let bench: KVMBench
        let interrupts: VirtualInterrupts
        let sink: KVMInterruptSink
        let group: InterruptSourceGroup

        init(count: Int = 4, keeping kept: [KVMRoute] = KVMRoute.defaults, hasWideAPICIDs: Bool = false) throws {
            kernel.install(FakeKVM(), at: "/dev/kvm")
            bench = try KVMBench(kernel)
            if hasWideAPICIDs { try bench.machine.enableWideAPICIDs() }
            interrupts = try VirtualInterrupts([.msix: count])
            sink = KVMInterruptSink(bench.machine, keeping: kept, hasWideAPICIDs: hasWideAPICIDs)
            group = try InterruptSourceGroup(source: try #require(interrupts.source(.msix)), sink: sink)
        }

        static func configuration(_ vector: UInt32, high: UInt64 = 0) -> InterruptConfiguration {
            InterruptConfiguration(message: InterruptMessage(address: high << 32 | 0xfee0_0000, data: vector))
        }

        func enable() throws {
            try group.enable((0..<group.count).map { Setup.configuration(64 + UInt32($0)) })
        }

        func expect(_ index: Int, arrivesAs vectors: [UInt32]) throws {
            interrupts.raise(index)
            try bench.arrivals(vectors)
            #expect(bench.log.last == "arrived: \(vectors)")
        }
    }

    @Test(
        "Bad input: a closed or foreign VM", arguments: ["KVM_IRQFD", "KVM_SET_GSI_ROUTING"],
        [Errno.ioError, .badFileDescriptor])
    func closedVM(request: String, errno: Errno) throws {
        let setup = try Setup()
        let error = InterruptError.kernel(KernelError(request, on: "told to refuse", errno))
        setup.kernel.refuse(request, with: errno)
        #expect(throws: error) { try setup.enable() }
        #expect(setup.group.phase == .configured)
        try setup.enable()
        try setup.expect(3, arrivesAs: [67])

        setup.kernel.refuse(request, with: errno)
        #expect(throws: error) { try setup.group.disable() }
        #expect(setup.group.phase == .live)
        try setup.expect(3, arrivesAs: [67])
        try setup.group.disable()
    }

    @Test("Bad input: an address that no interrupt controller takes", arguments: [true, false])
    func address(live: Bool) throws {
        let setup = try Setup(hasWideAPICIDs: true)
        let bad = Setup.configuration(70, high: 1)
        if !live {
            var configurations = (0..<4).map { Setup.configuration(64 + UInt32($0)) }
            configurations[2] = bad
            #expect(throws: InterruptError.self) { try setup.group.enable(configurations) }
            #expect(setup.group.phase == .configured)
        }
        try setup.enable()
        #expect(throws: InterruptError.self) { try setup.group.update(2, bad) }
        try setup.expect(2, arrivesAs: [66])
        try setup.group.mask(2)
        try setup.group.update(2, bad)
        setup.interrupts.raise(2)
        #expect(throws: InterruptError.self) { try setup.group.unmask(0..<4) }
        #expect(try setup.group.pendingState(2))
        try setup.group.update(2, Setup.configuration(80))
        try setup.group.unmask(2)
        try setup.bench.arrivals([80])
        #expect(setup.bench.log.last == "arrived: [80]")
    }

    @Test("T12: foreign routes stay, numbers between them are not ours, and the table's limit is a clean refusal")
    func foreignRoutes() throws {
        let foreign = (100..<3100 as Range<UInt32>).map { KVMRoute(gsi: $0, KVMBench.message(200)) }
        let setup = try Setup(count: 8, keeping: KVMRoute.defaults + foreign)
        #expect(setup.group.base == 24)
        try setup.enable()
        try setup.expect(7, arrivesAs: [71])
        let notifier = try EventFD()
        try setup.bench.machine.assignIRQFD(notifier.rawValue, gsi: 100)
        try notifier.signal()
        try setup.bench.arrivals([200])
        #expect(setup.bench.log.last == "arrived: [200]")

        let more = try VirtualInterrupts([.msix: 2048])
        let source = try #require(more.source(.msix))
        #expect(throws: InterruptError.numbersExhausted(asked: 2048, available: 996)) {
            try InterruptSourceGroup(source: source, sink: setup.sink)
        }
        let last = try InterruptSourceGroup(source: source, sink: setup.sink, count: 996)
        #expect(last.base == 3100)
        // 40 entries of the pins, the VMM's, the first group's, the last one's: so many are left of 4,096.
        #expect(throws: InterruptError.numbersExhausted(asked: 60, available: 52)) {
            try InterruptSourceGroup(source: source, sink: setup.sink, count: 60)
        }
        #expect(try InterruptSourceGroup(source: source, sink: setup.sink, count: 52).base == 32)
        try setup.expect(7, arrivesAs: [71])
    }
}
