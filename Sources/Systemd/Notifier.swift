public import LinuxSystem

/// Tells the service manager what the service is doing (sd_notify(3), by its datagram).
public final class Notifier: Sendable {
    /// One thing to tell.
    public enum State: Hashable, Sendable {
        /// READY=1: start-up is over.
        case ready
        /// STOPPING=1: shutdown has begun.
        case stopping
        /// STATUS=: one line for `systemctl status`.
        case status(String)
        /// WATCHDOG=1: the service is alive.
        case watchdog

        /// The assignment as it is sent. A newline would begin another, so it becomes a blank.
        var assignment: String {
            switch self {
            case .ready: "READY=1"
            case .stopping: "STOPPING=1"
            case .status(let text): "STATUS=" + text.split(whereSeparator: \.isNewline).joined(separator: " ")
            case .watchdog: "WATCHDOG=1"
            }
        }
    }

    private let socket: UnixDatagram?

    /// Connects to the manager's socket, the value of `$NOTIFY_SOCKET`; nil, for a service that nobody manages, makes a
    /// notifier that says nothing.
    public init(socketPath: String?) throws(KernelError) {
        if let socketPath {
            socket = try UnixDatagram(connectingTo: socketPath)
        } else {
            socket = nil
        }
    }

    /// Sends all of `states` as one message. Throws EAGAIN while the manager is behind; only ``State/ready`` waits for
    /// it, because a start whose end was never told counts as failed.
    public func notify(_ states: State...) throws(KernelError) {
        let message = Array(states.map(\.assignment).joined(separator: "\n").utf8)
        try socket?.send(message, waiting: states.contains(.ready))
    }

    /// How often ``State/watchdog`` is due, from `$WATCHDOG_USEC` and `$WATCHDOG_PID` (sd_watchdog_enabled(3)): half of
    /// the time after which the manager gives up. Nil where no watchdog waits for this process.
    public static func watchdogInterval(microseconds: String?, processID: String?, ownProcessID: Int32) -> Duration? {
        guard let microseconds, let limit = Int64(microseconds), limit > 1 else { return nil }
        if let processID, Int32(processID) != ownProcessID { return nil }
        return .microseconds(limit / 2)
    }
}
