import LinuxSystem
import Logging
import Systemd
import TestSupport
import Testing

@Suite("Log lines")
struct SystemLogHandlerTests {
    private func logger(_ destination: LogDestination) -> Logger {
        Logger(label: "test") { _ in SystemLogHandler(destination, identifier: "vfiod", level: .info) }
    }

    @Test("the journal gets priority and matchable fields, and a multi-line value with its length")
    func journal() throws {
        let directory = try TemporaryDirectory()
        let receiver = try DatagramReceiver(path: directory.file("journal"))
        var logger = logger(.journal(try UnixDatagram(connectingTo: directory.file("journal"))))
        logger[metadataKey: "device"] = "0000:00:10.0"
        logger.error("two\nlines", metadata: ["peer-uid": "7", "9": "x"])
        let entry = try receiver.next()
        #expect(entry.hasPrefix("MESSAGE\n\u{9}\0\0\0\0\0\0\0two\nlines\nPRIORITY=3\nSYSLOG_IDENTIFIER=vfiod\n"))
        #expect(entry.contains("\nVFIOD_DEVICE=0000:00:10.0\n"))
        #expect(entry.contains("\nVFIOD_PEER_UID=7\n"))
        #expect(entry.contains("\nVFIOD_9=x\n"))
    }

    @Test("standard error gets one line with the priority in front, whatever the message holds")
    func standardError() {
        let lines = Lock<[String]>([])
        let text = LogDestination.standardError { line in lines.withLock { $0.append(line) } }
        withExtendedLifetime(lines) {
            let logger = logger(text)
            logger.warning("one\n<0>forged", metadata: ["b": "2", "a": "1\n"])
            logger.debug("below the level")
        }
        #expect(lines.withLock { $0 } == ["<4>one <0>forged a=1  b=2\n"])
    }

    @Test("the journal is used only where standard error is connected to it")
    func detection() throws {
        let directory = try TemporaryDirectory()
        let receiver = try DatagramReceiver(path: directory.file("journal"))
        func isJournal(_ stream: String?, _ path: String) -> Bool {
            let identity = FileIdentity(device: 5, inode: 77)
            let found = LogDestination.detect(
                journalStream: stream, standardError: identity, journalPath: directory.file(path))
            if case .journal = found { return true }
            return false
        }
        #expect(isJournal("5:77", "journal"))
        for stream in [nil, "", "5:78", "4:77", "5", "5:77:1", "x:y"] as [String?] {
            #expect(!isJournal(stream, "journal"))
        }
        #expect(!isJournal("5:77", "none"))
        withExtendedLifetime(receiver) {}
    }

    @Test("an entry stays within a datagram however long its values are")
    func longValues() throws {
        let directory = try TemporaryDirectory()
        let receiver = try DatagramReceiver(path: directory.file("journal"))
        let logger = logger(.journal(try UnixDatagram(connectingTo: directory.file("journal"))))
        logger.info("\(String(repeating: "x", count: 1 << 20))")
        #expect(try receiver.next().utf8.count < 40_000)
    }
}
