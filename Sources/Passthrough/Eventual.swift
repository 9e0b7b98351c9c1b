internal import LinuxSystem

/// A value that comes once, and may be waited for by many, each as long as it likes.
final class Eventual<Value: Sendable>: Sendable {
    private struct Waiter {
        let continuation: CheckedContinuation<Value?, Never>
        var timer: Task<Void, Never>?
    }

    private struct State {
        var value: Value?
        var waiters: [Int: Waiter] = [:]
        var nextID = 0
    }

    private let state = Lock(State())

    /// Wakes all who wait. Only the first value counts.
    func resolve(_ value: Value) {
        let waiters = state.withLock { state -> [Waiter] in
            guard state.value == nil else { return [] }
            state.value = value
            defer { state.waiters = [:] }
            return Array(state.waiters.values)
        }
        for waiter in waiters {
            waiter.timer?.cancel()
            waiter.continuation.resume(returning: value)
        }
    }

    /// Waits for the value.
    func value() async -> Value {
        while true {
            if let value = await value(within: nil, on: ContinuousClock()) { return value }
        }
    }

    /// Waits for the value, or until `limit` has passed on `clock`, and returns nil then. Waits for ever without limit.
    func value(within limit: Duration?, on clock: any Clock<Duration>) async -> Value? {
        await withCheckedContinuation { continuation in
            let (id, value) = state.withLock { state -> (Int, Value?) in
                if state.value == nil { state.waiters[state.nextID] = Waiter(continuation: continuation) }
                state.nextID += 1
                return (state.nextID - 1, state.value)
            }
            if let value { return continuation.resume(returning: value) }
            guard let limit else { return }
            let timer = Task {
                try? await clock.sleep(for: limit)
                self.giveUp(id)
            }
            let isLate = state.withLock { state in
                state.waiters[id]?.timer = timer
                return state.waiters[id] == nil
            }
            if isLate { timer.cancel() }
        }
    }

    private func giveUp(_ id: Int) {
        state.withLock { $0.waiters.removeValue(forKey: id) }?.continuation.resume(returning: nil)
    }
}
