import Testing

@testable import Passthrough

@Suite("Delivery ledger")
struct DeliveryLedgerTests {
    private var counts = [UInt32](repeating: 0, count: 4)

    @Test("a raise that arrives on its own vector is delivered and nothing else")
    mutating func delivered() {
        var ledger = DeliveryLedger(window: 8..<12) { [counts] in counts[$0] }
        ledger.raise(2)
        #expect(!ledger.hasArrived(2, count: counts[2]))
        counts[2] = 1
        #expect(ledger.hasArrived(2, count: counts[2]))
        ledger.close(2, arrived: true) { [counts] in counts[$0] }
        #expect((ledger.fired, ledger.delivered, ledger.lost, ledger.spurious) == (1, 1, 0, 0))
        #expect(ledger.lostVectors.isEmpty && ledger.spuriousVectors.isEmpty)
    }

    @Test("a raise on the wrong vector is one lost and one spurious, each with its vector's number")
    mutating func misrouted() {
        var ledger = DeliveryLedger(window: 8..<12) { [counts] in counts[$0] }
        ledger.raise(0)
        counts[1] = 1
        ledger.close(0, arrived: false) { [counts] in counts[$0] }
        #expect((ledger.fired, ledger.delivered, ledger.lost, ledger.spurious) == (1, 0, 1, 1))
        #expect(ledger.lostVectors == [8])
        #expect(ledger.spuriousVectors == [9])
    }

    @Test("a second arrival for one raise is spurious, and counted once however often it is looked at")
    mutating func duplicate() {
        var ledger = DeliveryLedger(window: 0..<4) { [counts] in counts[$0] }
        ledger.raise(3)
        counts[3] = 2
        ledger.close(3, arrived: true) { [counts] in counts[$0] }
        ledger.audit { [counts] in counts[$0] }
        #expect((ledger.delivered, ledger.spurious) == (1, 1))
        ledger.raise(3)
        #expect(ledger.hasArrived(3, count: 3))
    }

    @Test(
        "a second arrival is a repeat where the device may have sent two, and a third is spurious",
        arguments: [1, 2, 3])
    mutating func repeated(arrivals: UInt32) {
        var ledger = DeliveryLedger(window: 0..<4) { [counts] in counts[$0] }
        ledger.raise(3)
        counts[3] = arrivals
        #expect(ledger.hasArrived(3, 2, count: arrivals) == (arrivals <= 2))
        ledger.close(3, arrived: true, messages: 2) { [counts] in counts[$0] }
        #expect(ledger.delivered == 1)
        #expect(ledger.repeated == (arrivals == 2 ? 1 : 0))
        #expect(ledger.spurious == (arrivals == 3 ? 2 : 0))
        ledger.raise(3)
        #expect(!ledger.hasArrived(3, count: arrivals))
        #expect(ledger.hasArrived(3, count: arrivals + 1))
    }

    @Test("an arrival after the raise was given up is lost and spurious, never delivered")
    mutating func late() {
        var ledger = DeliveryLedger(window: 0..<4) { [counts] in counts[$0] }
        ledger.raise(1)
        ledger.close(1, arrived: false) { [counts] in counts[$0] }
        counts[1] = 1
        ledger.audit { [counts] in counts[$0] }
        #expect((ledger.delivered, ledger.lost, ledger.spurious) == (0, 1, 1))
    }

    @Test("counters start from what stands there, and wrap around without a trap")
    mutating func wrap() {
        counts[0] = .max
        var ledger = DeliveryLedger(window: 0..<4) { [counts] in counts[$0] }
        ledger.raise(0)
        counts[0] = 0
        #expect(ledger.hasArrived(0, count: 0))
        ledger.close(0, arrived: true) { [counts] in counts[$0] }
        #expect((ledger.delivered, ledger.spurious) == (1, 0))
    }

    @Test("a guest that writes nonsense into its counters makes the test fail, not the process")
    mutating func hostile() {
        var ledger = DeliveryLedger(window: 0..<4) { [counts] in counts[$0] }
        for round in 0..<1000 as Range<UInt32> {
            ledger.raise(0)
            counts = [round &* 0x9e37_79b9, .max &- round, round, 0x8000_0000]
            ledger.close(0, arrived: round % 2 == 0) { [counts] in counts[$0] }
        }
        #expect(ledger.spurious > 0)
        #expect(ledger.delivered + ledger.lost == 1000)
    }
}
