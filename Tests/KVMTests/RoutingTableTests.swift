import KVM
import TestSupport
import Testing

@testable import KVMInterrupts

@Suite("The routing table that is kept")
struct RoutingTableTests {
    private func routes(of table: RoutingTable) -> Set<KVMRoute> {
        Set((0..<table.entries.count).map { table.entries[$0] })
    }

    @Test("every kind of route reads back as it was stored")
    func kinds() {
        let routes = [
            KVMRoute(gsi: 5, .pin(.ioapic, 7)), KVMRoute(gsi: 6, .pin(.slavePIC, 3)),
            KVMRoute(gsi: 4095, .message(address: .max, data: .max, deviceID: nil)),
            KVMRoute(gsi: 24, .message(address: 0xfee0_0000, data: 64, deviceID: 0)),
            KVMRoute(gsi: 25, .message(address: 1 << 40, data: 0, deviceID: .max)),
        ]
        var table = KVMRoutingTable(routes)
        #expect((0..<table.count).map { table[$0] } == routes)
        // A pin where a message stood leaves nothing of it.
        table[2] = routes[0]
        #expect(table[2] == routes[0])
        table.remove(at: 0)
        #expect((0..<table.count).map { table[$0] } == [routes[4], routes[1], routes[0], routes[3]])
        for _ in 0..<4 { table.remove(at: 0) }
        #expect(table.count == 0)
    }

    @Test("after thousands of changes it holds what a dictionary of them holds, foreign routes first")
    func random() {
        var generator = SplitMix64(seed: 7)
        var table = RoutingTable(foreign: KVMRoute.defaults)
        var expected: [Int: KVMRoute.Target] = [:]
        for step in 0..<20_000 {
            let number = 24 + Int(generator.next() % 64)
            let target: KVMRoute.Target? =
                generator.next() % 3 == 0
                ? nil : .message(address: 0xfee0_0000, data: UInt32(truncatingIfNeeded: step), deviceID: nil)
            table[number] = target
            expected[number] = target
            if step % 1000 == 0 { table = table.replacing(foreign: KVMRoute.defaults) }
        }
        #expect((24..<88).allSatisfy { table[$0] == expected[$0] })
        #expect(table.entries.count == KVMRoute.defaults.count + expected.count)
        #expect((0..<KVMRoute.defaults.count).map { table.entries[$0] } == KVMRoute.defaults)
        #expect(
            routes(of: table) == Set(KVMRoute.defaults).union(expected.map { KVMRoute(gsi: UInt32($0), $1) }))
    }
}
