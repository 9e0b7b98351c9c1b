/// Latencies in nanoseconds, counted in buckets no wider than 1/64 of their value, so that a million of them take no
/// more memory than ten.
struct LatencyHistogram {
    private static let subBits = 6
    private var buckets: [Int: Int] = [:]
    private(set) var count = 0
    /// The largest latency, exact; 0 if there is none.
    private(set) var maximum: UInt64 = 0

    /// Counts one latency.
    mutating func record(_ nanoseconds: UInt64) {
        buckets[LatencyHistogram.bucket(of: nanoseconds), default: 0] += 1
        count += 1
        maximum = max(maximum, nanoseconds)
    }

    /// The latency that `fraction` (0 to 1) of all do not exceed, to within 1/64; 0 if there is none.
    func percentile(_ fraction: Double) -> UInt64 {
        let rank = max(1, Int((Double(count) * fraction).rounded(.up)))
        var seen = 0
        for (bucket, held) in buckets.sorted(by: { $0.key < $1.key }) {
            seen += held
            if seen >= rank { return min(LatencyHistogram.upperBound(of: bucket), maximum) }
        }
        return maximum
    }

    // Values below 64 have a bucket each; above, 64 buckets share each power of two.
    private static func bucket(of value: UInt64) -> Int {
        let shift = max(0, 64 - value.leadingZeroBitCount - subBits - 1)
        return (shift << subBits) + Int(value >> UInt64(shift))
    }

    private static func upperBound(of bucket: Int) -> UInt64 {
        let shift = max(0, (bucket >> subBits) - 1)
        let mantissa = UInt64(bucket - (shift << subBits))
        return (mantissa << UInt64(shift)) + ((1 << UInt64(shift)) - 1)
    }
}
