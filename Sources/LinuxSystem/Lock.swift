public import Synchronization

/// A mutex around a value, whose order the thread sanitizer sees.
///
/// `Mutex` takes its contended path inside the standard library, which is not instrumented, so that the sanitizer reports
/// races between sections that never overlap. The two accesses to `order` tell it what the mutex already enforces.
///
/// Inlinable, so that callers in other modules do not pay for generic code at every section.
public struct Lock<Value: ~Copyable>: ~Copyable, Sendable {
    @usableFromInline let mutex: Mutex<Value>
    @usableFromInline let order = Atomic<Int>(0)

    /// Puts `value` under the lock.
    @inlinable public init(_ value: consuming sending Value) {
        mutex = Mutex(value)
    }

    /// Runs `body` with the value, alone.
    @inlinable public func withLock<Result: ~Copyable, Failure: Error>(
        _ body: (inout sending Value) throws(Failure) -> sending Result
    ) throws(Failure) -> sending Result {
        try mutex.withLock { value throws(Failure) in
            _ = order.load(ordering: .acquiring)
            defer { order.store(0, ordering: .releasing) }
            return try body(&value)
        }
    }
}
