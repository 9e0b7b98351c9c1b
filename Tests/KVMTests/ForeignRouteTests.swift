import InterruptSources
import KVM
import KVMInterrupts
import LinuxSystem
import SystemPackage
import TestSupport
import Testing

@Suite("Routes that are not of a group")
struct ForeignRouteTests {
    private func foreign(_ gsi: UInt32, _ vector: UInt32) -> KVMRoute {
        KVMRoute(gsi: gsi, KVMBench.message(vector))
    }

    @Test("they can be changed later, together with routes of groups, in one table")
    func together() throws {
        let setup = try SinkSetup(keeping: KVMRoute.defaults + [foreign(30, 90)])
        let base = try setup.sink.reserve(2)
        try setup.sink.commit(changes([base: message(60)]))
        try setup.sink.setForeignRoutes(
            KVMRoute.defaults + [foreign(40, 91)], with: changes([base: nil, base + 1: message(61)]))
        #expect(setup.commits == 2)
        #expect(setup.sink.foreignRoutes.last == foreign(40, 91))
        try setup.arrivals(of: 30, [])
        try setup.arrivals(of: 40, [91])
        try setup.arrivals(of: base, [])
        try setup.arrivals(of: base + 1, [61])
        #expect(setup.bench.log == ["arrived: []", "arrived: [91]", "arrived: []", "arrived: [61]"])
    }

    @Test("the same routes again need no table")
    func unchanged() throws {
        let setup = try SinkSetup()
        try setup.sink.setForeignRoutes(KVMRoute.defaults)
        #expect(setup.commits == 0)
        try setup.sink.setForeignRoutes(KVMRoute.defaults + [foreign(30, 90)])
        #expect(setup.commits == 1)
    }

    @Test("their numbers are not given to groups, and are once they are gone")
    func numbers() throws {
        let setup = try SinkSetup(keeping: KVMRoute.defaults + [foreign(24, 90)])
        #expect(try setup.sink.reserve(1) == 25)
        try setup.sink.setForeignRoutes(KVMRoute.defaults + [foreign(26, 90)])
        #expect(try setup.sink.reserve(2) == 27)
        #expect(try setup.sink.reserve(1) == 24)
        try setup.sink.setForeignRoutes(KVMRoute.defaults)
        #expect(try setup.sink.reserve(1) == 26)
        // 4,096 less the pins' 40 less 5.
        try setup.sink.setForeignRoutes(KVMRoute.defaults + (100..<200).map { foreign($0, 90) })
        #expect(throws: InterruptError.numbersExhausted(asked: 4000, available: 3896)) {
            try setup.sink.reserve(4000)
        }
    }

    @Test("what KVM would refuse is refused before, and changes nothing")
    func refused() throws {
        let setup = try SinkSetup(hasWideAPICIDs: true)
        let base = try setup.sink.reserve(4)
        try setup.sink.commit(changes([base: message(60)]))
        let number = UInt32(base)
        let high = KVMRoute.Target.message(address: 0x1_fee0_0000, data: 60, deviceID: nil)
        let bad: [([KVMRoute], InterruptError)] = [
            ([foreign(4096, 90)], .numberNotReserved(4096)), ([foreign(.max, 90)], .numberNotReserved(Int(UInt32.max))),
            ([foreign(number, 90)], .numberInUse(base)), ([foreign(number + 3, 90)], .numberInUse(base + 3)),
            ([foreign(50, 90), foreign(50, 91)], .numberInUse(50)),
            ([foreign(50, 90), KVMRoute(gsi: 50, .pin(.ioapic, 5))], .numberInUse(50)),
            ([KVMRoute(gsi: 5, .pin(.ioapic, 5)), foreign(5, 90)], .numberInUse(5)),
            ([KVMRoute(gsi: 5, .pin(.ioapic, 5)), KVMRoute(gsi: 5, .pin(.ioapic, 6))], .numberInUse(5)),
            ([KVMRoute(gsi: 5, .pin(.ioapic, 24))], .numberNotReserved(24)),
            ([KVMRoute(gsi: 5, .pin(.slavePIC, 8))], .numberNotReserved(8)),
            ([KVMRoute(gsi: 50, high)], .addressRefused(0x1_fee0_0000)),
        ]
        for (routes, error) in bad {
            #expect(throws: error) { try setup.sink.setForeignRoutes(routes) }
        }
        // Good foreign routes with a bad change of ours.
        #expect(throws: InterruptError.numberNotReserved(base + 4)) {
            try setup.sink.setForeignRoutes([foreign(50, 90)], with: changes([base + 4: message(61)]))
        }
        #expect(setup.commits == 1)
        #expect(setup.sink.foreignRoutes == KVMRoute.defaults)
        try setup.arrivals(of: base, [60])
        #expect(setup.bench.log == ["arrived: [60]"])
    }

    @Test("more than stand beside the reserved numbers are refused, with how many do")
    func room() throws {
        let setup = try SinkSetup()
        let base = try setup.sink.reserve(2048)
        #expect(base == 24)
        let many = KVMRoute.defaults + (2072..<4081).map { foreign($0, 90) }
        #expect(throws: InterruptError.numbersExhausted(asked: 2049, available: 2048)) {
            try setup.sink.setForeignRoutes(many)
        }
        try setup.sink.setForeignRoutes(Array(many.dropLast()))
        try setup.sink.commit((24..<2072).map { RouteChange($0, message(60)) })
        #expect(setup.commits == 2)
        #expect(throws: InterruptError.numbersExhausted(asked: 1, available: 0)) { try setup.sink.reserve(1) }
    }

    @Test("after a refused table all routes are as before, of both")
    func failure() throws {
        let setup = try SinkSetup(keeping: KVMRoute.defaults + [foreign(30, 90)])
        let base = try setup.sink.reserve(1)
        try setup.sink.commit(changes([base: message(60)]))
        setup.kernel.refuse("KVM_SET_GSI_ROUTING", with: .noMemory)
        #expect(throws: InterruptError.self) {
            try setup.sink.setForeignRoutes(KVMRoute.defaults, with: changes([base: message(61)]))
        }
        #expect(setup.sink.foreignRoutes.last == foreign(30, 90))
        #expect(try setup.sink.reserve(7) == 31, "number 30 is still taken")
        try setup.sink.commit(changes([31: message(62)]))
        try setup.arrivals(of: base, [60])
        try setup.arrivals(of: 30, [90])
        try setup.arrivals(of: 31, [62])
        #expect(setup.bench.log == ["arrived: [60]", "arrived: [90]", "arrived: [62]"])
    }
}
