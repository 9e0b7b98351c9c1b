internal import CLinux
internal import Glibc
internal import SystemPackage

/// One thread for calls that may block, run one after the other in the order of `run`.
///
/// Swift's own threads are few and must not block, and the event loop must not either. The thread ends when the last
/// reference to the lane goes and what was handed in has run.
public final class BlockingLane: Sendable {
    private let queue: Queue

    /// Starts the thread. `name` shows in `ps -L`; the kernel keeps its first 15 bytes. Throws EAGAIN at the limit of
    /// threads, EMFILE at the limit of descriptors.
    public init(name: String) throws(KernelError) {
        queue = Queue(wake: try EventFD())
        try queue.start(name: name)
    }

    deinit {
        queue.end()
    }

    /// Runs `body` on the lane's thread after everything handed in before, and returns or throws what it does.
    public func run<Value: Sendable, Failure: Error>(
        _ body: @escaping @Sendable () throws(Failure) -> Value
    ) async throws(Failure) -> Value {
        let result: Result<Value, Failure> = await withCheckedContinuation { continuation in
            // The lane's end must not overtake this job.
            withExtendedLifetime(self) {
                queue.add {
                    do throws(Failure) {
                        continuation.resume(returning: .success(try body()))
                    } catch {
                        continuation.resume(returning: .failure(error))
                    }
                }
            }
        }
        return try result.get()
    }

    /// Hands in `body` without waiting for it.
    public func start(_ body: @escaping @Sendable () -> Void) {
        // The lane's end must not overtake this job.
        withExtendedLifetime(self) { queue.add(body) }
    }

    /// What the lane and its thread share; the thread holds it, so that it does not hold the lane.
    private final class Queue: Sendable {
        private struct State: Sendable {
            var jobs: [@Sendable () -> Void] = []
            var isEnding = false
        }

        private let state = Lock(State())
        private let wake: EventFD

        init(wake: EventFD) {
            self.wake = wake
        }

        func start(name: String) throws(KernelError) {
            _ = try startDetachedThread(name: name) { self.work() }
        }

        func add(_ job: @escaping @Sendable () -> Void) {
            state.withLock { $0.jobs.append(job) }
            signal()
        }

        func end() {
            state.withLock { $0.isEnding = true }
            signal()
        }

        private func signal() {
            do {
                try wake.signal()
            } catch {
                fatalError("a lane's own eventfd refused its signal: \(error)")
            }
        }

        private func work() {
            while true {
                wake.wait()
                let (jobs, isEnding) = state.withLock { state in
                    defer { state.jobs = [] }
                    return (state.jobs, state.isEnding)
                }
                for job in jobs { job() }
                if isEnding { return }
            }
        }
    }
}
