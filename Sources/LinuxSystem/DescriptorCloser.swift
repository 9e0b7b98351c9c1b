/// Closes descriptors that somebody else sent, on one thread of its own, which lives as long as there is something to
/// close: close(2) of a file whose sender wants it so may take any time (a TCP socket that lingers, a file of FUSE).
public final class DescriptorCloser: Sendable {
    private struct State {
        var lane: BlockingLane?
        var unclosed = 0
    }

    private let state = Lock(State())

    /// Creates one without a thread.
    public init() {}

    /// How many descriptors were handed in and are not closed yet.
    public var unclosedCount: Int { state.withLock { $0.unclosed } }

    func close(_ descriptors: [CInt]) {
        if descriptors.isEmpty { return }
        let lane = state.withLock { state in
            state.unclosed += descriptors.count
            if state.lane == nil { state.lane = try? BlockingLane(name: "close") }
            return state.lane
        }
        let body: @Sendable () -> Void = {
            for descriptor in descriptors { _ = OwnedDescriptor(adopting: descriptor) }
            self.state.withLock { state in
                state.unclosed -= descriptors.count
                if state.unclosed == 0 { state.lane = nil }
            }
        }
        // Without a thread, a wait is better than descriptors that stay open for good.
        if let lane { lane.start(body) } else { body() }
    }
}
