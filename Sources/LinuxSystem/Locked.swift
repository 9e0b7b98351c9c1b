internal import Glibc

/// A value that one thread at a time can reach, behind a pthread mutex.
///
/// Unlike Synchronization's `Mutex` it can be watched by the thread sanitizer: there, a lock that is waited for is handed
/// over inside the kernel (FUTEX_LOCK_PI), the sanitizer sees no order, and reports races where there are none.
@safe public final class Locked<Value: Sendable>: @unchecked Sendable {
    // Sendable although it is mutable: `value` is touched with the mutex held, and nowhere else.
    private var value: Value
    private let mutex: UnsafeMutablePointer<pthread_mutex_t>

    /// Puts `value` behind a new mutex.
    public init(_ value: Value) {
        self.value = value
        unsafe mutex = .allocate(capacity: 1)
        // SAFETY: the memory is ours until deinit, and does not move. With default attributes nothing can fail.
        unsafe mutex.initialize(to: pthread_mutex_t())
        _ = unsafe pthread_mutex_init(mutex, nil)
    }

    deinit {
        // SAFETY: nobody refers to this object any more, so nobody holds the mutex.
        _ = unsafe pthread_mutex_destroy(mutex)
        unsafe mutex.deallocate()
    }

    /// Runs `body` alone with the value. It must not come back to this lock.
    public func withLock<Result: ~Copyable, Failure: Error>(
        _ body: (inout Value) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        // SAFETY: initialized above; unlocked by the thread that locked it, on every way out.
        _ = unsafe pthread_mutex_lock(mutex)
        defer { _ = unsafe pthread_mutex_unlock(mutex) }
        return try body(&value)
    }
}
