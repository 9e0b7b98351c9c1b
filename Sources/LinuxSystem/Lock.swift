internal import Synchronization

/// A mutex around a value, whose order the thread sanitizer sees.
///
/// `Mutex` takes its contended path inside the standard library, which is not instrumented, so that the sanitizer reports
/// races between sections that never overlap. The two accesses to `order` tell it what the mutex already enforces.
public struct Lock<Value: ~Copyable>: ~Copyable, Sendable {
    private let mutex: Mutex<Value>
    private let order = Atomic<Int>(0)

    /// Puts `value` under the lock.
    public init(_ value: consuming sending Value) {
        mutex = Mutex(value)
    }

    /// Runs `body` with the value, alone.
    public func withLock<Result: ~Copyable, Failure: Error>(
        _ body: (inout sending Value) throws(Failure) -> sending Result
    ) throws(Failure) -> sending Result {
        try mutex.withLock { value throws(Failure) in
            _ = order.load(ordering: .acquiring)
            defer { order.store(0, ordering: .releasing) }
            return try body(&value)
        }
    }
}
