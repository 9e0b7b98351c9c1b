internal import CLinux
internal import Glibc
internal import SystemPackage

/// One thread that waits on descriptors and is also a serial executor: actors that name it as theirs run on it, so
/// that what readiness touches needs no lock.
///
/// Nothing that runs on it may block. Registrations carry numbers that are never used twice, so an event that was on
/// its way when a descriptor was closed never reaches the next owner of that descriptor's number.
public final class EventLoop: SerialExecutor, Sendable {
    /// Takes what happened on a descriptor, on the loop's thread.
    public typealias Handler = @Sendable (Readiness) -> Void

    /// A watched descriptor, as ``watch(_:for:handler:)`` returned it.
    public struct Registration: Hashable, Sendable {
        fileprivate let id: UInt64
        fileprivate let descriptor: CInt
    }

    private enum Work: Sendable {
        case job(UnownedJob)
        case body(@Sendable () -> Void)
    }

    private struct State: Sendable {
        var work: [Work] = []
        var handlers: [UInt64: Handler] = [:]
        var lastID = EventLoop.wakeID
        var isStopping = false
        var thread: pthread_t?
    }

    private static let wakeID: UInt64 = 0

    private let name: String
    private let epoll: Epoll
    private let wake: EventFD
    private let state = Lock(State())

    /// Starts the thread. `name` shows in `ps -L`; the kernel keeps its first 15 bytes. Throws EMFILE at the limit of
    /// descriptors, EAGAIN at the limit of threads.
    public init(name: String) throws(KernelError) {
        self.name = name
        epoll = try Epoll()
        wake = try EventFD()
        try epoll.add(wake.rawValue, .readable, id: EventLoop.wakeID)
        try state.withLock { state throws(KernelError) in try start(&state) }
    }

    /// Ends the thread once all work handed in so far has run. Work handed in later, by an actor that outlives the
    /// loop, still runs, on a thread started for it; descriptors are then no longer watched.
    public func stop() {
        state.withLock { state in
            state.isStopping = true
            state.handlers = [:]
        }
        signal()
    }

    /// Watches `descriptor`, which its owner keeps open until ``unwatch(_:)``. `handler` is called, level-triggered,
    /// as long as any of `interest` holds. Throws EEXIST if the descriptor is watched already.
    public func watch(
        _ descriptor: CInt, for interest: Readiness, handler: @escaping Handler
    ) throws(KernelError) -> Registration {
        // The lock is held over both, so that an event cannot come before its handler stands.
        try state.withLock { state throws(KernelError) in
            let id = state.lastID + 1
            try epoll.add(descriptor, interest, id: id)
            state.lastID = id
            state.handlers[id] = handler
            return Registration(id: id, descriptor: descriptor)
        }
    }

    /// Changes what a descriptor is watched for. A hang-up is reported even for an empty set.
    public func update(_ registration: Registration, for interest: Readiness) throws(KernelError) {
        try state.withLock { state throws(KernelError) in
            guard state.handlers[registration.id] != nil else { return }
            try epoll.modify(registration.descriptor, interest, id: registration.id)
        }
    }

    /// Stops watching; to be called before the descriptor is closed. On the loop's thread, no call of the handler
    /// follows. A registration that is gone already is no error.
    public func unwatch(_ registration: Registration) {
        state.withLock { state in
            guard state.handlers.removeValue(forKey: registration.id) != nil else { return }
            do {
                try epoll.remove(registration.descriptor)
            } catch {
                fatalError("a watched descriptor was closed before it was unwatched: \(error)")
            }
        }
    }

    /// Runs `body` on the loop's thread, after everything handed in before.
    public func submit(_ body: @escaping @Sendable () -> Void) {
        add(.body(body))
    }

    /// Runs an actor's job on the loop's thread, after everything handed in before.
    public func enqueue(_ job: consuming ExecutorJob) {
        add(.job(UnownedJob(job)))
    }

    /// Whether the caller runs on the loop's thread.
    public var isCurrent: Bool {
        state.withLock { $0.thread }.map { pthread_equal($0, pthread_self()) != 0 } ?? false
    }

    /// Traps unless the caller runs on the loop's thread; this is what an actor's `assumeIsolated` asks.
    public func checkIsolated() {
        precondition(isCurrent, "not on the event loop \(name)")
    }

    /// The same question for runtimes that can take no for an answer.
    public func isIsolatingCurrentContext() -> Bool? { isCurrent }

    private func add(_ work: Work) {
        state.withLock { state in
            state.work.append(work)
            guard state.thread == nil else { return }
            do {
                try start(&state)
            } catch {
                fatalError("work for the event loop \(name) cannot run: \(error)")
            }
        }
        signal()
    }

    private func signal() {
        do {
            try wake.signal()
        } catch {
            fatalError("the loop's own eventfd refused its signal: \(error)")
        }
    }

    private func start(_ state: inout State) throws(KernelError) {
        state.thread = try startDetachedThread(name: name) { self.run() }
    }

    private func run() {
        while true {
            let events: [Epoll.Event]
            do {
                events = try epoll.wait()
            } catch {
                fatalError("the event loop \(name) cannot wait: \(error)")
            }
            for event in events {
                if event.id == EventLoop.wakeID {
                    wake.drain()
                } else if let handler = state.withLock({ $0.handlers[event.id] }) {
                    handler(event.readiness)
                }
            }
            guard runWork() else { return }
        }
    }

    /// Runs what was handed in. Returns false when the thread is to end.
    private func runWork() -> Bool {
        let work = state.withLock { state in
            defer { state.work = [] }
            return state.work
        }
        for item in work {
            switch item {
            case .job(let job): unsafe job.runSynchronously(on: asUnownedSerialExecutor())
            case .body(let body): body()
            }
        }
        return state.withLock { state in
            if state.isStopping && state.work.isEmpty {
                state.thread = nil
                return false
            }
            return true
        }
    }
}
