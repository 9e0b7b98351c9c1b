/// A listening socket that is watched on an event loop.
///
/// It stays readable while descriptors or memory are short. So when a connection cannot be accepted it is left alone for a
/// while, and then tried again, rather than to keep the loop busy.
public final class WatchedListener: Sendable {
    /// Takes a connection that waits, by ``accept()``, on the loop's thread. Throws what makes it pause.
    public typealias Handler = @Sendable (WatchedListener) throws(KernelError) -> Void

    private struct State: Sendable {
        var registration: EventLoop.Registration?
        var isStopped = false
    }

    private let socket: UnixListener
    private let loop: EventLoop
    private let pause: Duration
    private let clock: any Clock<Duration>
    private let handler: Handler
    private let report: @Sendable (KernelError) -> Void
    private let state = Lock(State())

    /// Watches `socket` until ``stop()``. `report` is told why it pauses, on the loop's thread.
    public init(
        _ socket: consuming UnixListener, on loop: EventLoop, pause: Duration = .seconds(1),
        clock: any Clock<Duration> = ContinuousClock(), report: @escaping @Sendable (KernelError) -> Void,
        handler: @escaping Handler
    ) throws(KernelError) {
        self.socket = socket
        (self.loop, self.pause, self.clock) = (loop, pause, clock)
        (self.report, self.handler) = (report, handler)
        try watch()
    }

    deinit { stop() }

    /// The next connection, non-blocking; nil if none waits.
    public func accept() throws(KernelError) -> UnixSocket? { try socket.accept() }

    /// Takes no further connection. On the loop's thread, no call of the handler follows.
    public func stop() {
        let registration = state.withLock { state in
            defer { state = State(isStopped: true) }
            return state.registration
        }
        if let registration { loop.unwatch(registration) }
    }

    private func watch() throws(KernelError) {
        try state.withLock { (state) throws(KernelError) in
            if state.isStopped { return }
            state.registration = try loop.watch(socket.descriptor.rawValue, for: .readable) { [weak self] _ in
                self?.takeNext()
            }
        }
    }

    private func takeNext() {
        do throws(KernelError) { try handler(self) } catch { rest(after: error) }
    }

    private func rest(after error: KernelError) {
        report(error)
        let registration = state.withLock { state in
            defer { state.registration = nil }
            return state.registration
        }
        if let registration { loop.unwatch(registration) }
        Task { [weak self, clock, pause, loop] in
            try? await clock.sleep(for: pause)
            loop.submit { [weak self] in self?.goOn() }
        }
    }

    private func goOn() {
        do throws(KernelError) { try watch() } catch { rest(after: error) }
    }
}
