import Glibc
import InterruptSources
import LinuxSystem
import TestSupport
import Testing

/// Random steps on the real stack, compared with a model after each.
///
/// `VFIOD_MODEL_SEED` chooses the first run's seed, which is otherwise always the same; each further run has the next.
/// `VFIOD_MODEL_STEPS` chooses how many steps are taken in all. To see one run again, give its seed and the steps of one.
@Suite("Random steps against a model")
struct ModelTests {
    private static let stepsOfRun = 250
    private static let steps = number("VFIOD_MODEL_STEPS") ?? 100_000
    private static let firstSeed = number("VFIOD_MODEL_SEED") ?? 20_261_122

    @Test("100,000 steps, with refusals and events at every kernel call: nothing is lost, invented or left over")
    func randomSteps() async {
        let runs = UInt64((ModelTests.steps + UInt64(ModelTests.stepsOfRun) - 1) / UInt64(ModelTests.stepsOfRun))
        print("model: \(runs) runs from seed \(ModelTests.firstSeed) on")
        await withTaskGroup { tasks in
            for lane in 0..<2 as Range<UInt64> {
                tasks.addTask {
                    for seed in stride(from: ModelTests.firstSeed + lane, to: ModelTests.firstSeed + runs, by: 2) {
                        if let failure = ModelTests.failure(seed) {
                            Issue.record("\(failure)")
                            return
                        }
                        await Task.yield()
                    }
                }
            }
        }
    }

    // In a process of its own, where nobody else opens and closes.
    @Test("after runs the process has the descriptors that it had before")
    func descriptors() async {
        await #expect(processExitsWith: .success) {
            // What is opened once and for all.
            _ = ModelTests.failure(0)
            let before = try listDirectory("/proc/self/fd").sorted()
            for seed in 1..<12 as Range<UInt64> {
                let failure = ModelTests.failure(seed)
                #expect(failure == nil, "\(failure?.description ?? "")")
            }
            #expect(try listDirectory("/proc/self/fd").sorted() == before)
        }
    }

    /// What a seed's run shows, with as few steps as it takes.
    private static func failure(_ seed: UInt64) -> Difference? {
        var random = SplitMix64(seed: seed)
        let variant = Variant.random(&random)
        var generator = StepGenerator(random, variant)
        let steps = generator.steps(stepsOfRun)
        guard ModelRun.difference(variant, steps) != nil else { return nil }
        guard var shrinker = Shrinker(variant, steps, run: { ModelRun.difference($0, $1) }) else {
            return Difference("seed \(seed): not seen again, so that threads or time play a part")
        }
        let first = shrinker.difference
        shrinker.shrink()
        return Difference("seed \(seed): \(first)\nshrunk: \(shrinker.difference)\n\(shrinker.literal)")
    }

    private static func number(_ variable: String) -> UInt64? {
        getenv(variable).flatMap { UInt64(String(cString: $0)) }
    }
}
