import Testing

@testable import Passthrough

@Suite("Latency histogram")
struct LatencyHistogramTests {
    @Test("an empty histogram has no latencies")
    func empty() {
        let histogram = LatencyHistogram()
        #expect(histogram.count == 0)
        #expect(histogram.percentile(0.5) == 0)
        #expect(histogram.maximum == 0)
    }

    @Test(
        "a percentile is at most 1/64 above the true value and never below it",
        arguments: [1, 63, 64, 65, 127, 128, 1_000, 123_456, 9_876_543_210] as [UInt64])
    func precision(value: UInt64) {
        var histogram = LatencyHistogram()
        for _ in 0..<99 { histogram.record(value) }
        histogram.record(value * 100)
        #expect(histogram.percentile(0.5) >= value)
        #expect(histogram.percentile(0.5) <= value + value / 64)
        #expect(histogram.percentile(0.99) <= value + value / 64)
        #expect(histogram.percentile(1.0) == value * 100)
        #expect(histogram.maximum == value * 100)
    }

    @Test("percentiles follow the ranks of a known distribution")
    func ranks() {
        var histogram = LatencyHistogram()
        for value in 1...1000 as ClosedRange<UInt64> { histogram.record(value) }
        #expect((500...508).contains(histogram.percentile(0.5)))
        #expect((990...1000).contains(histogram.percentile(0.99)))
    }

    @Test("the largest representable latency is counted, not trapped on")
    func largest() {
        var histogram = LatencyHistogram()
        histogram.record(.max)
        histogram.record(0)
        #expect(histogram.maximum == .max)
        #expect(histogram.percentile(1.0) == .max)
        #expect(histogram.percentile(0.5) == 0)
    }
}
