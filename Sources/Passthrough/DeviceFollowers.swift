internal import LinuxSystem

/// Those who follow what happens to devices. Each has a queue with a limit, so that one who is slow holds up nobody and
/// takes no more memory than the queue does; it ends when it is full.
final class DeviceFollowers: Sendable {
    /// How many events wait for one of them at most: more than come of one change to the host, such as a physical function
    /// with all virtual functions that it can have.
    static let queueLength = 1024

    private struct State {
        var lastID = 0
        var queues: [Int: AsyncStream<DeviceEvent>.Continuation] = [:]
    }

    private let state = Lock(State())

    /// How many there are.
    var count: Int { state.withLock { $0.queues.count } }

    /// Adds one, who stops following by not iterating any more.
    func add() -> AsyncStream<DeviceEvent> {
        let (stream, queue) = AsyncStream.makeStream(
            of: DeviceEvent.self, bufferingPolicy: .bufferingOldest(DeviceFollowers.queueLength))
        let id = state.withLock { state in
            state.lastID += 1
            state.queues[state.lastID] = queue
            return state.lastID
        }
        queue.onTermination = { [weak self] _ in self?.remove(id) }
        return stream
    }

    /// Tells all, in the same order, from any thread.
    func tell(_ event: DeviceEvent) {
        let late = state.withLock { state in
            let late = state.queues.filter { _, queue in
                if case .enqueued = queue.yield(event) { false } else { true }
            }
            for id in late.keys { state.queues[id] = nil }
            return Array(late.values)
        }
        // Not under the lock: it calls back.
        for queue in late { queue.finish() }
    }

    private func remove(_ id: Int) { state.withLock { $0.queues[id] = nil } }
}
