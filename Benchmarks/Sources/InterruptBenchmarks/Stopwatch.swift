internal import LinuxSystem

/// What one side took for its operations, in the order in which they were done.
struct Stopwatch {
    /// Nanoseconds.
    private(set) var times: [Operation: [UInt64]] = [:]
    /// Requests to the kernel, of the last time.
    private(set) var requests: [Operation: Int] = [:]
    private(set) var order: [Operation] = []

    /// Times `body`, which may time its own parts.
    mutating func time<Side: BenchmarkSide>(
        _ operation: Operation, _ side: inout Side, _ body: (inout Side, inout Stopwatch) throws -> Void
    ) throws {
        let before = side.requests
        let start = monotonicNanoseconds()
        try body(&side, &self)
        let end = monotonicNanoseconds()
        if times[operation] == nil { order.append(operation) }
        times[operation, default: []].append(end &- start)
        requests[operation] = side.requests - before
    }
}
