import Benchmark
import InterruptBenchmarks

// Both sides of each operation, measured in turn in one process, as metrics of one benchmark: the library has no metric
// that is a ratio of two others, so it is measured as one of its own.
let benchmarks: @Sendable () -> Void = {
    let floor = BenchmarkMetric.custom("floor (ns)", polarity: .prefersSmaller, useScalingFactor: false)
    let ours = BenchmarkMetric.custom("vfiod (ns)", polarity: .prefersSmaller, useScalingFactor: false)
    let ratio = BenchmarkMetric.custom("vfiod / floor (%)", polarity: .prefersSmaller, useScalingFactor: false)
    let configuration = Benchmark.Configuration(
        metrics: [floor, ours, ratio], warmupIterations: 0, maxDuration: .seconds(5), maxIterations: 20)
    for paired in PairedBenchmark.all {
        Benchmark(paired.name, configuration: configuration) { benchmark in
            let times = try paired.round()
            benchmark.measurement(floor, times.floor)
            benchmark.measurement(ours, times.ours)
            benchmark.measurement(ratio, times.ours * 100 / max(times.floor, 1))
        }
    }
}
