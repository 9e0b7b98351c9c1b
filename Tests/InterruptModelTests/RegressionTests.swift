import InterruptSources
import SystemPackage
import Testing

/// What random steps have found, as few steps as it took.
@Suite("What random steps have found")
struct RegressionTests {
    struct Case: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let variant: Variant
        let steps: [Step]

        init(_ description: String, on variant: Variant = Variant(), _ steps: [Step]) {
            (testDescription, self.variant, self.steps) = (description, variant, steps)
        }
    }

    static let cases = [
        Case(
            "a line that is asserted stays seen where its disable is taken back",
            on: Variant(noticesLineWhenEnabled: false),
            [
                Step(.enable(.line, data: 64)), Step(.level(.line, true)),
                Step(.disable(.line), fault: .init(call: 2, errno: .noMemory)), Step(.end),
            ]),
        Case(
            "what could not be undone of a line's unmask eventfd is gone when the line is off",
            on: Variant(hasSink: false),
            [
                Step(.enable(.line, data: 64), fault: .init(call: 3, count: 3, errno: .noMemory)),
                Step(.enable(.line, data: 64, masked: 1)), Step(.unmask(.line, 0)),
            ]),
        Case(
            "a masked line whose notifier somebody else has takes no irqfd when it is enabled",
            [Step(.handOut(.line, 0)), Step(.enable(.line, data: 64, masked: 1))]),
        Case(
            "vectors that are connected already need no host vector of those that are left",
            on: Variant(tableCount: 3, isLinux6dot5: false, hostVectors: 2),
            [
                Step(.enable(.table, data: 64, masked: 0xf)), Step(.unmask(.table, 0, count: 2)),
                Step(.mask(.table, 0)), Step(.unmask(.table, 0, count: 3)),
            ]),
        Case(
            "what came while an enable failed is not delivered by the next",
            on: Variant(blockCount: 8, hostVectors: 4),
            [
                Step(.enable(.block, data: 64, masked: .max, size: 1)), Step(.disable(.block)),
                Step(.enable(.block, data: 64, masked: .max), during: .init(call: 3, event: .raise(0))),
                Step(.enable(.block, data: 64, size: 1)),
            ]),
        Case(
            "disable gives back what an enable could not",
            [Step(.enable(.line, data: 64), fault: .init(call: 1, count: 3, errno: .noMemory))]),
        Case(
            "destroy tries again what was refused once",
            [
                Step(.enable(.table, data: 64, masked: 0)),
                Step(.destroy(.table), fault: .init(call: 4, errno: .noMemory)),
            ]),
        Case(
            "a type that stayed on when growing was taken back is still known to be on",
            on: Variant(tableCount: 2, isLinux6dot5: false),
            [
                Step(.handIn(.table, 0, count: 3, foreign: true, counted: true)),
                Step(.enable(.table, data: 64, masked: 0xb)),
                Step(
                    .unmask(.table, 0, count: 3),
                    fault: .init(call: 6, count: 7, errno: .noMemory, vector: 6, raising: 3)),
            ]),
        Case(
            "what is pending in a notifier of somebody else stays so when it is replaced",
            [
                Step(.handIn(.table, 0, foreign: true)), Step(.enable(.table, data: 64, masked: 0)),
                Step(.mask(.table, 0)), Step(.signalOutside(.table, 0)), Step(.handIn(.table, 0, foreign: true)),
            ]),
        Case(
            "what a notifier had counted that was not taken is not pending",
            [
                Step(.enable(.table, data: 64)),
                Step(.handIn(.table, 0, foreign: true, counted: true), fault: .init(call: 0, errno: .noMemory)),
                Step(.mask(.table, 0)),
            ]),
        Case(
            "a vector that is masked keeps its eventfd in a larger block", on: Variant(blockCount: 8),
            [
                Step(.handIn(.block, 1, foreign: true)), Step(.enable(.block, data: 64, size: 2)),
                Step(.mask(.block, 1)), Step(.handIn(.block, 1, foreign: false)), Step(.allocatable(6)),
                Step(.enlarge(.block, data: 64)),
            ]),
        Case(
            "an event that comes while a mask fails half way is delivered",
            [
                Step(.enable(.table, data: 64)),
                Step(
                    .mask(.table, 0, count: 2),
                    fault: .init(call: 0, errno: .noMemory, vector: 1, raising: 0)),
            ]),
    ]

    @Test("nothing of it comes back", arguments: cases)
    func comesNotBack(_ found: Case) {
        let difference = ModelRun.difference(found.variant, found.steps)
        #expect(difference == nil, "\(difference?.description ?? "")")
    }
}
