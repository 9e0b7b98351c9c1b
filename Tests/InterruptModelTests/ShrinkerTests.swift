import InterruptSources
import SystemPackage
import TestSupport
import Testing

@Suite("The model can fail")
struct ShrinkerTests {
    @Test("a bug in the sink is found, and shrunk to few steps", arguments: PlantedSink.Bug.allCases)
    func plantedBug(_ bug: PlantedSink.Bug) throws {
        let planted = { (variant: Variant, steps: [Step]) in
            ModelRun.difference(variant, steps) { PlantedSink(bug: bug, sink: $0) }
        }
        for seed in 0..<100 as Range<UInt64> {
            var random = SplitMix64(seed: seed)
            let variant = Variant.random(&random)
            var generator = StepGenerator(random, variant)
            guard var shrinker = Shrinker(variant, generator.steps(100), run: planted) else { continue }
            shrinker.shrink()
            #expect(shrinker.steps.count <= 4, "\(shrinker.difference)\n\(shrinker.literal)")
            #expect(planted(shrinker.variant, shrinker.steps) != nil)
            #expect(ModelRun.difference(shrinker.variant, shrinker.steps) == nil)
            return
        }
        Issue.record("not found")
    }

    @Test("steps that matter stay, and none beside them, plain and in their order")
    func minimal() throws {
        var random = SplitMix64(seed: 1)
        let variant = Variant.random(&random)
        var generator = StepGenerator(random, variant)
        var steps = generator.steps(200)
        steps.insert(Step(.destroy(.block), fault: Fault(call: 3, count: 4, errno: .noSpace)), at: 150)
        steps.insert(Step(.handOut(.table, 7), during: Intrusion(call: 1, event: .end)), at: 50)
        // "Fails" where the notifier goes out before the block is destroyed.
        var shrinker = try #require(
            Shrinker(variant, steps) { _, steps in
                let first = steps.firstIndex { if case .handOut(.table, _) = $0.operation { true } else { false } }
                let last = steps.lastIndex { if case .destroy(.block) = $0.operation { true } else { false } }
                guard let first, let last, first < last else { return nil }
                return Difference("both")
            })
        shrinker.shrink()
        #expect(shrinker.steps == [Step(.handOut(.table, 0)), Step(.destroy(.block))])
        #expect(shrinker.variant == Variant(blockCount: 1, tableCount: 1))
        #expect(
            shrinker.literal == """
                ModelRun.difference(
                    Variant(hasSink: true, blockCount: 1, tableCount: 1, isLinux6dot5: true, hostVectors: 1000, \
                allocatable: 2048, noticesLineWhenEnabled: true, hasWideAPICIDs: false),
                    [
                        Step(.handOut(.table, 0)),
                        Step(.destroy(.block)),
                    ])
                """)
    }

    @Test("the same seed makes the same steps, another seed others")
    func seeds() {
        func steps(_ seed: UInt64) -> [Step] {
            var random = SplitMix64(seed: seed)
            let variant = Variant.random(&random)
            var generator = StepGenerator(random, variant)
            return generator.steps(50)
        }
        #expect(steps(1) == steps(1))
        #expect(steps(1) != steps(2))
        // The reference sequence of SplitMix64 for seed 1234567.
        var random = SplitMix64(seed: 1_234_567)
        #expect(
            (0..<3).map { _ in random.next() } == [
                6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423,
            ])
    }
}
