import Glibc
import LinuxSystem
import TestSupport

/// A thread that raises interrupts as fast as it can, and counts them.
final class FreeRaiser: Sendable {
    private struct State: Sendable {
        var begun = 0
        var done = 0
        var repeats = 0
        var isPaused = false
        var isStopping = false
        var hasStopped = false
        var failure: (any Error)?
    }

    private let state = Lock(State())
    private let thread: BlockingLane

    /// Starts to raise these vectors, one after the other and again.
    init(_ raiser: any Raiser, _ vectors: [Int]) throws {
        thread = try BlockingLane(name: "raiser")
        thread.start { [weak self] in
            var turn = 0
            // Weakly, so that a test that fails does not leave a thread behind that raises for ever.
            while let next = self?.begin() {
                if next == .wait {
                    sched_yield()
                    continue
                }
                let result = Result { try raiser.raise(vectors[turn % vectors.count]) }
                self?.finish(result)
                turn += 1
                // Where processors are few, the guest needs one to take what was raised.
                sched_yield()
            }
        }
    }

    /// How many messages were sent at most: no more can have been delivered before. Not what the raise under way may be
    /// repeating, which is waited for.
    var most: Int { get throws { try pausing { state.withLock { $0.begun + $0.repeats } } } }

    /// Waits until `count` more raises were begun and done than when it was called. Throws what a raise failed with.
    func wait(for count: Int) throws {
        let target = state.withLock { $0.begun } + count
        let arrived = eventually { state.withLock { $0.done >= target || $0.failure != nil } }
        if let failure = state.withLock({ $0.failure }) { throw failure }
        if !arrived { throw GuestBroken(what: "the raiser stands still") }
    }

    /// Runs `body` while nothing is raised. A guest that is slower than the device gets to nothing else as long as it is
    /// interrupted, and to none of its vectors but those of the highest priority: what waits for it to have done so must
    /// not raise meanwhile.
    func pausing<Value>(_ body: () throws -> Value) throws -> Value {
        state.withLock { $0.isPaused = true }
        defer { state.withLock { $0.isPaused = false } }
        guard eventually({ state.withLock { $0.done == $0.begun } }) else {
            throw GuestBroken(what: "a raise does not end")
        }
        return try body()
    }

    /// Ends the thread, and waits for its last raise.
    func stop() throws {
        state.withLock { $0.isStopping = true }
        _ = eventually { state.withLock { $0.hasStopped } }
        if let failure = state.withLock({ $0.failure }) { throw failure }
    }

    private enum Turn {
        case raise, wait
    }

    /// What the thread does next; nil for no more.
    private func begin() -> Turn? {
        state.withLock { state in
            if state.isStopping || state.failure != nil {
                state.hasStopped = true
                return nil
            }
            if state.isPaused { return .wait }
            state.begun += 1
            return .raise
        }
    }

    private func finish(_ result: Result<Int, any Error>) {
        state.withLock { state in
            state.done += 1
            switch result {
            case .success(let messages): state.repeats += messages - 1
            case .failure(let error): state.failure = error
            }
        }
    }
}
