import LinuxSystem
import Logging
import PCI
import Testing

@testable import VfiodDaemon

@Suite("What a client makes be logged") struct ClientLogTests {
    private final class Lines: Sendable {
        private let lines = Lock<[String]>([])
        var all: [String] { lines.withLock { $0 } }
        func add(_ line: String) { lines.withLock { $0.append(line) } }
    }

    /// Keeps what is logged.
    private struct Recorder: LogHandler {
        let lines: Lines
        var logLevel = Logger.Level.trace
        var metadata: Logger.Metadata = [:]

        init(_ lines: Lines) { self.lines = lines }

        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }

        func log(event: LogEvent) {
            let fields = (event.metadata ?? [:]).sorted { $0.key < $1.key }.map { " \($0)=\($1)" }.joined()
            lines.add("\(event.level) \(event.message)\(fields)")
        }
    }

    @Test("A few lines come, then one a minute that says how many did not, and at the end how many are left")
    func limited() throws {
        let lines = Lines()
        let time = Lock(ContinuousClock.now)
        let address = try #require(PCIAddress("0000:00:10.0"))
        let logger = Logger(label: "test") { _ in Recorder(lines) }
        let log = ClientLog(address, logger, now: { time.withLock { $0 } })
        for number in 0..<30 { log.write(.info, event: "vfio-user", "line \(number)", ["errno": "EIO"]) }
        var found = lines.all
        #expect(found.count == 20)
        #expect(found.first == "info 0000:00:10.0: line 0 device=0000:00:10.0 errno=EIO event=vfio-user")
        time.withLock { $0 += .seconds(59) }
        log.write(.info, event: "vfio-user", "too early")
        time.withLock { $0 += .seconds(1) }
        log.write(.warning, event: "bad-message", "now")
        log.write(.info, event: "vfio-user", "too early again")
        found = lines.all
        #expect(found.count == 21 && found.last?.contains("now; 11 lines before this were left out") == true)
        log.end()
        log.end()
        found = lines.all
        #expect(found.count == 22 && found.last?.contains("1 more lines") == true)
        time.withLock { $0 += .seconds(60) }
        log.write(.info, event: "vfio-user", "last")
        #expect(lines.all.last == "info 0000:00:10.0: last device=0000:00:10.0 event=vfio-user")
    }
}
