internal import CLinux
internal import Glibc
internal import SystemPackage

/// What a descriptor is watched for, or what happened on it (epoll_ctl(2), level-triggered).
public struct Readiness: OptionSet, Sendable, Hashable {
    /// The flags of epoll(7).
    public let rawValue: UInt32
    /// Creates a set from flags of epoll(7).
    public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// EPOLLIN: a read would not block; the other side's end of writing counts.
    public static let readable = Readiness(rawValue: CLINUX_EPOLLIN)
    /// EPOLLOUT: a write would not block.
    public static let writable = Readiness(rawValue: CLINUX_EPOLLOUT)
    /// EPOLLHUP: both directions are closed. Reported whether asked for or not.
    public static let hangUp = Readiness(rawValue: CLINUX_EPOLLHUP)
    /// EPOLLERR. Reported whether asked for or not.
    public static let error = Readiness(rawValue: CLINUX_EPOLLERR)
}

/// An epoll(7) instance.
struct Epoll: ~Copyable, Sendable {
    /// One watched descriptor's news.
    struct Event {
        /// The number the descriptor was added under.
        let id: UInt64
        /// What happened.
        let readiness: Readiness
    }

    private let descriptor: OwnedDescriptor

    /// Creates an empty set.
    init() throws(KernelError) {
        descriptor = OwnedDescriptor(
            adopting: try checked("epoll_create1") { epoll_create1(CInt(bitPattern: UInt32(O_CLOEXEC))) })
    }

    /// Watches `watched` under `id`. Throws EEXIST if it is watched already, EPERM for a regular file.
    func add(_ watched: CInt, _ interest: Readiness, id: UInt64) throws(KernelError) {
        try control(EPOLL_CTL_ADD, watched, interest, id)
    }

    /// Changes what `watched` is watched for.
    func modify(_ watched: CInt, _ interest: Readiness, id: UInt64) throws(KernelError) {
        try control(EPOLL_CTL_MOD, watched, interest, id)
    }

    /// Stops watching.
    func remove(_ watched: CInt) throws(KernelError) {
        try control(EPOLL_CTL_DEL, watched, [], 0)
    }

    /// Waits without limit for at least one event.
    func wait() throws(KernelError) -> [Event] {
        var events = unsafe [epoll_event](repeating: epoll_event(), count: 64)
        let raw = descriptor.rawValue
        // SAFETY: the kernel writes at most as many events as the array has.
        let count = try checked("epoll_wait") { unsafe epoll_wait(raw, &events, CInt(events.count), -1) }
        return unsafe events.prefix(Int(count)).map {
            // SAFETY: every event was added with the 64-bit member of the union.
            unsafe Event(id: $0.data.u64, readiness: Readiness(rawValue: $0.events))
        }
    }

    private func control(
        _ operation: CInt, _ watched: CInt, _ interest: Readiness, _ id: UInt64
    ) throws(KernelError) {
        var event = unsafe epoll_event(events: interest.rawValue, data: epoll_data_t(u64: id))
        let raw = descriptor.rawValue
        // SAFETY: the kernel reads one event, alive for the call.
        _ = try checked("epoll_ctl") { unsafe epoll_ctl(raw, operation, watched, &event) }
    }
}
