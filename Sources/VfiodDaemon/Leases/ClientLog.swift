internal import LinuxSystem
internal import Logging
internal import PCI

/// What is logged because of a client: a few lines as they come, and from then on one a minute, which says how many were
/// left out. A client could otherwise fill the journal, which drops the lines of whoever writes too many: all of ours.
final class ClientLog: Sendable {
    private struct State {
        var written = 0
        var omitted = 0
        var last: ContinuousClock.Instant
    }

    private static let burst = 20
    private static let interval = Duration.seconds(60)

    private let address: PCIAddress
    private let logger: Logger
    private let now: @Sendable () -> ContinuousClock.Instant
    private let state: Lock<State>

    init(
        _ address: PCIAddress, _ logger: Logger,
        now: @escaping @Sendable () -> ContinuousClock.Instant = { ContinuousClock.now }
    ) {
        (self.address, self.logger, self.now) = (address, logger, now)
        state = Lock(State(last: now()))
    }

    /// Logs a line about a client of the device, or counts it.
    func write(_ level: Logger.Level, event: String, _ text: String, _ metadata: Logger.Metadata = [:]) {
        let now = now()
        let omitted = state.withLock { state -> Int? in
            guard state.written < ClientLog.burst || now - state.last >= ClientLog.interval else {
                state.omitted += 1
                return nil
            }
            state.written += 1
            state.last = now
            defer { state.omitted = 0 }
            return state.omitted
        }
        guard let omitted else { return }
        log(level, event, metadata, omitted == 0 ? text : "\(text); \(omitted) lines before this were left out")
    }

    /// The client is gone: says how many lines about it were left out, if any were.
    func end() {
        let omitted = state.withLock { state in
            defer { state.omitted = 0 }
            return state.omitted
        }
        if omitted > 0 { log(.info, "vfio-user", [:], "\(omitted) more lines about its client were left out") }
    }

    private func log(_ level: Logger.Level, _ event: String, _ metadata: Logger.Metadata, _ text: String) {
        let common: Logger.Metadata = ["event": "\(event)", "device": "\(address)"]
        logger.log(level: level, "\(address): \(text)", metadata: common.merging(metadata) { $1 })
    }
}
