import InterruptSources
import KVM
import KVMInterrupts
import LinuxSystem
import SystemPackage
import TestSupport
import Testing

@Suite("The owner of a machine's routing table")
struct KVMInterruptSinkTests {
    @Test("a batch is one table, and one that changes nothing is none")
    func batches() throws {
        let setup = try SinkSetup()
        let base = try setup.sink.reserve(100)
        #expect(base == 24)
        let routes = Dictionary(uniqueKeysWithValues: (0..<100).map { (base + $0, message(100)) })
        try setup.sink.commit(changes(routes))
        #expect(setup.commits == 1)
        try setup.sink.commit(changes(routes))
        try setup.sink.commit([])
        try setup.sink.commit(changes([base: message(100)]))
        #expect(setup.commits == 1)
        try setup.sink.commit(changes([base: message(101)]))
        try setup.sink.commit(changes([base: nil]))
        try setup.sink.commit(changes([base: nil]))
        #expect(setup.commits == 3)
    }

    @Test("events go where the last committed route says, and nowhere once it is dropped")
    func delivery() throws {
        let setup = try SinkSetup()
        let base = try setup.sink.reserve(2)
        try setup.sink.commit(changes([base: message(60), base + 1: message(61)]))
        try setup.arrivals(of: base, [60])
        try setup.arrivals(of: base + 1, [61])
        try setup.sink.commit(changes([base: message(62), base + 1: nil]))
        try setup.arrivals(of: base, [62])
        try setup.arrivals(of: base + 1, [])
        #expect(setup.bench.log == ["arrived: [60]", "arrived: [61]", "arrived: [62]", "arrived: []"])
    }

    @Test("the routes of pins and those of the VMM stay in every table")
    func kept() throws {
        let foreign = KVMRoute(gsi: 30, KVMBench.message(90))
        let setup = try SinkSetup(keeping: KVMRoute.defaults + [foreign])
        try setup.bench.machine.setRedirection(
            pin: 16, IOAPICRedirection(vector: 48, destination: 0, isLevel: false))
        let base = try setup.sink.reserve(8)
        #expect(base == 31, "number 30 is the VMM's")
        try setup.sink.commit(changes([base: message(60)]))
        try setup.arrivals(of: 30, [90])
        try setup.arrivals(of: 16, [48])
        try setup.sink.commit(changes([base: nil]))
        try setup.arrivals(of: 30, [90])
        try setup.arrivals(of: 16, [48])
        #expect(setup.bench.log == ["arrived: [90]", "arrived: [48]", "arrived: [90]", "arrived: [48]"])
    }

    @Test("a pin whose route is kept needs no table; one that is not gets its route")
    func pins() throws {
        let setup = try SinkSetup()
        try setup.sink.commit(changes([16: .some(.pin)]))
        #expect(setup.commits == 0)

        let bare = try SinkSetup(keeping: [])
        try bare.bench.machine.setRedirection(pin: 16, IOAPICRedirection(vector: 48, destination: 0, isLevel: false))
        try bare.sink.commit(changes([16: .some(.pin)]))
        #expect(bare.commits == 1)
        try bare.arrivals(of: 16, [48])
        try bare.sink.commit(changes([16: nil]))
        try bare.arrivals(of: 16, [])
        #expect(bare.bench.log == ["arrived: [48]", "arrived: []"])
    }

    @Test("a route that KVM would refuse is refused before, and the rest of its batch with it")
    func validation() throws {
        let setup = try SinkSetup(hasWideAPICIDs: true)
        let base = try setup.sink.reserve(2)
        try setup.sink.commit(changes([base: message(60)]))
        let bad: [([Int: InterruptRoute?], InterruptError)] = [
            ([base: message(61), 4096: message(61)], .numberNotReserved(4096)),
            ([base: message(61), -1: message(61)], .numberNotReserved(-1)),
            ([base: message(61), base + 2: message(61)], .numberNotReserved(base + 2)),
            ([base: message(61), 16: message(61)], .numberNotReserved(16)),
            ([base: message(61), base + 1: .some(.pin)], .numberNotReserved(base + 1)),
            ([base: message(61), -1: .some(.pin)], .numberNotReserved(-1)),
            ([base: message(61), 4096: nil], .numberNotReserved(4096)),
            ([base: message(61), .min: nil], .numberNotReserved(.min)),
            ([base: message(61), base + 1: message(61, high: 1)], .addressRefused(0x1_fee0_0000)),
        ]
        for (routes, error) in bad {
            #expect(throws: error) { try setup.sink.commit(changes(routes)) }
        }
        #expect(setup.commits == 1)
        try setup.arrivals(of: base, [60])
        try setup.sink.commit(changes([base + 1: message(61, high: 0x100)]))
        #expect(setup.bench.log == ["arrived: [60]"])
    }

    @Test("after a refused table our routes are as before, and the same change can be made again")
    func refusedTable() throws {
        let setup = try SinkSetup()
        let base = try setup.sink.reserve(2)
        try setup.sink.commit(changes([base: message(60)]))
        setup.kernel.refuse("KVM_SET_GSI_ROUTING", with: .noMemory)
        let error = #expect(throws: InterruptError.self) {
            try setup.sink.commit(changes([base: message(61), base + 1: message(62)]))
        }
        #expect(error == .kernel(KernelError("KVM_SET_GSI_ROUTING", on: "told to refuse", .noMemory)))
        try setup.arrivals(of: base, [60])
        let before = setup.commits
        try setup.sink.commit(changes([base: message(60)]))
        #expect(setup.commits == before, "the old route is still the known one")
        try setup.sink.commit(changes([base: message(61), base + 1: message(62)]))
        try setup.arrivals(of: base, [61])
        try setup.arrivals(of: base + 1, [62])
        #expect(setup.bench.log == ["arrived: [60]", "arrived: [61]", "arrived: [62]"])
    }

    @Test("two full MSI-X tables do not fit: the error says how many would")
    func exhaustion() throws {
        let setup = try SinkSetup()
        let first = try setup.sink.reserve(2048)
        #expect(first == 24)
        let error = #expect(throws: InterruptError.self) { try setup.sink.reserve(2048) }
        // 4,096 routes less the 40 of the pins less the first table.
        #expect(error == .numbersExhausted(asked: 2048, available: 2008))
        #expect(try setup.sink.reserve(2008) == 2072)
        #expect(throws: InterruptError.numbersExhausted(asked: 1, available: 0)) { try setup.sink.reserve(1) }
        for count in [0, -1, .min, .max] {
            #expect(throws: InterruptError.self) { try setup.sink.reserve(count) }
        }
        // And they all fit into one table.
        let routes = Dictionary(uniqueKeysWithValues: (24..<4080).map { ($0, message(60)) })
        try setup.sink.commit(changes(routes))
        try setup.sink.commit((24..<4080).map { RouteChange($0, nil) })
        setup.sink.release(24..<4080)
        #expect(try setup.sink.reserve(4056) == 24)
    }

    @Test("numbers are given out again, but not before the table that drops their routes")
    func release() throws {
        let setup = try SinkSetup()
        let base = try setup.sink.reserve(4)
        try setup.sink.commit(changes([base: message(60)]))
        setup.sink.release(base..<base + 4)
        setup.sink.release(base..<base + 4)
        setup.sink.release(0..<24)
        setup.sink.release(5000..<6000)
        #expect(try setup.sink.reserve(1) == base + 1)
        #expect(throws: InterruptError.numberNotReserved(base)) {
            try setup.sink.commit(changes([base: message(61)]))
        }
        try setup.arrivals(of: base, [60])
        try setup.sink.commit(changes([base + 1: message(62)]))
        #expect(setup.commits == 2)
        try setup.arrivals(of: base, [])
        #expect(try setup.sink.reserve(1) == base)
        #expect(setup.bench.log == ["arrived: [60]", "arrived: []"])
    }

    @Test("a released number whose table was refused waits for the next, which may be the one that a reservation needs")
    func abandoned() throws {
        let setup = try SinkSetup()
        let base = try setup.sink.reserve(4056)
        try setup.sink.commit(changes([base: message(60)]))
        setup.kernel.refuse("KVM_SET_GSI_ROUTING", with: .noMemory)
        #expect(throws: InterruptError.self) { try setup.sink.commit(changes([base: nil])) }
        setup.sink.release(base..<base + 4056)
        setup.kernel.refuse("KVM_SET_GSI_ROUTING", with: .noMemory)
        #expect(throws: InterruptError.numbersExhausted(asked: 4056, available: 4055)) {
            try setup.sink.reserve(4056)
        }
        try setup.arrivals(of: base, [60])
        #expect(try setup.sink.reserve(4056) == base)
        try setup.arrivals(of: base, [])
        #expect(setup.bench.log == ["arrived: [60]", "arrived: []"])
    }

    @Test("irqfds: the kernel's refusals come through, and taking away what is not there is no error")
    func irqfds() throws {
        let setup = try SinkSetup()
        let base = try setup.sink.reserve(1)
        let notifier = try EventFD()
        try setup.sink.detach(notifier, from: base)
        try setup.sink.attach(notifier, to: base, resample: nil)
        let error = #expect(throws: InterruptError.self) {
            try setup.sink.attach(notifier, to: base, resample: nil)
        }
        #expect(error == .kernel(KernelError("KVM_IRQFD", .resourceBusy)))
        for number in [-1, 4096, .max] {
            #expect(throws: InterruptError.numberNotReserved(number)) {
                try setup.sink.attach(notifier, to: number, resample: nil)
            }
            #expect(throws: InterruptError.numberNotReserved(number)) { try setup.sink.detach(notifier, from: number) }
        }
    }

    @Test(
        "2,048 routes and irqfds of one device come up in a real machine with one table",
        .enabled(if: Requirements.kvm, "needs /dev/kvm"))
    func large() throws {
        let bench = try KVMBench(LiveKernel())
        let sink = KVMInterruptSink(bench.machine)
        let base = try sink.reserve(2048)
        try sink.commit((0..<2048).map { RouteChange(base + $0, message(64 + UInt32($0 % 128))) })
        let notifiers = try [0, 1, 1000, 2047].map { offset in
            let notifier = try EventFD()
            try sink.attach(notifier, to: base + offset, resample: nil)
            return notifier
        }
        for notifier in notifiers { try notifier.signal() }
        try bench.arrivals([64, 65, 168, 191])
        #expect(bench.log == ["arrived: [64, 65, 168, 191]"])
    }
}
