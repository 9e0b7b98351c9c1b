import Glibc
import LinuxSystem
import TestSupport

/// A thread that raises interrupts as fast as it can, and counts them.
final class FreeRaiser: Sendable {
    private struct State: Sendable {
        var begun = 0
        var done = 0
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
            while self?.begin() == true {
                let result = Result { try raiser.raise(vectors[turn % vectors.count]) }
                self?.finish(result)
                turn += 1
                // Where processors are few, the guest needs one to take what was raised.
                sched_yield()
            }
        }
    }

    /// How many raises were begun: no more can have been delivered.
    var begun: Int { state.withLock { $0.begun } }

    /// Waits until `count` more raises were begun and done than when it was called. Throws what a raise failed with.
    func wait(for count: Int) throws {
        let target = begun + count
        let arrived = eventually { state.withLock { $0.done >= target || $0.failure != nil } }
        if let failure = state.withLock({ $0.failure }) { throw failure }
        if !arrived { throw GuestBroken(what: "the raiser stands still") }
    }

    /// Ends the thread, and waits for its last raise.
    func stop() throws {
        state.withLock { $0.isStopping = true }
        _ = eventually { state.withLock { $0.hasStopped } }
        if let failure = state.withLock({ $0.failure }) { throw failure }
    }

    private func begin() -> Bool {
        state.withLock { state in
            if state.isStopping || state.failure != nil {
                state.hasStopped = true
                return false
            }
            state.begun += 1
            return true
        }
    }

    private func finish(_ result: Result<Void, any Error>) {
        state.withLock { state in
            state.done += 1
            if case .failure(let error) = result { state.failure = error }
        }
    }
}
