internal import Glibc
internal import Logging
internal import Passthrough

/// Makes vfiod stop in the middle of operations, so that tests see what a crash or a power loss there leaves behind.
///
/// `VFIOD_STOP_AT` in vfiod's environment is a list of ``StopPoint``s with commas between, or `none` to stop nowhere; while
/// it is set, each point that vfiod comes to is logged. `VFIOD_STOP_BY` is `kill`, the default, or `hang`. Without the
/// first an operation runs as if there were no stop points.
struct StopRequest: Sendable {
    /// How vfiod stops.
    enum Way: String {
        /// By SIGKILL, as a crash would end it: nothing is undone, flushed or said.
        case kill
        /// There and for good, while the rest of vfiod goes on.
        case hang
    }

    private let points: Set<StopPoint>
    private let way: Way

    /// Nil if `at` is. Throws what is no stop point and no way to stop.
    init?(at: String?, by: String?) throws(StartupError) {
        guard let at else { return nil }
        var points: Set<StopPoint> = []
        for text in at == "none" ? [] : at.split(separator: ",", omittingEmptySubsequences: false) {
            guard let point = StopPoint(String(text)) else {
                throw StartupError(
                    description: "VFIOD_STOP_AT: \(text) is no stop point such as bind:unbind:before@0000:00:11.0")
            }
            points.insert(point)
        }
        guard let way = by.map(Way.init) ?? .kill else {
            throw StartupError(description: "VFIOD_STOP_BY: \(by ?? "") is neither kill nor hang")
        }
        (self.points, self.way) = (points, way)
    }

    /// Tells of a point that was come to. Does not return if it was asked for.
    func reach(_ point: StopPoint, _ logger: Logger) {
        logger.notice("stop point \(point)", metadata: ["event": "stop-point", "device": "\(point.device)"])
        guard points.contains(point) else { return }
        if way == .kill { kill(getpid(), SIGKILL) }
        while true { pause() }
    }
}
