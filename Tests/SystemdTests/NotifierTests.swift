import LinuxSystem
import Systemd
import TestSupport
import Testing

@Suite("Notifier")
struct NotifierTests {
    @Test("states arrive as one datagram, and a newline in a status forges no assignment")
    func datagram() throws {
        let directory = try TemporaryDirectory()
        let receiver = try DatagramReceiver(path: directory.file("notify"))
        let notifier = try Notifier(socketPath: directory.file("notify"))
        try notifier.notify(.ready, .status("Serving\nSTOPPING=1"))
        try notifier.notify(.stopping, .watchdog)
        #expect(try receiver.next() == "READY=1\nSTATUS=Serving STOPPING=1")
        #expect(try receiver.next() == "STOPPING=1\nWATCHDOG=1")
    }

    @Test("an abstract address is reached")
    func abstractAddress() throws {
        let name = "@vfiod-test-\(UInt64.random(in: 0 ... .max))"
        let receiver = try DatagramReceiver(path: name)
        try Notifier(socketPath: name).notify(.ready)
        #expect(try receiver.next() == "READY=1")
    }

    @Test("without a manager nothing is said, and a manager that is gone is an error")
    func absent() throws {
        try Notifier(socketPath: nil).notify(.ready)
        let directory = try TemporaryDirectory()
        let error = #expect(throws: KernelError.self) { _ = try Notifier(socketPath: directory.file("none")) }
        #expect(error?.errno.name == "ENOENT")
        let long = #expect(throws: KernelError.self) {
            _ = try Notifier(socketPath: "/" + String(repeating: "x", count: 108))
        }
        #expect(long?.errno.name == "ENAMETOOLONG")
    }

    @Test("the watchdog is fed at half its time, and only by the process it waits for")
    func watchdog() {
        func interval(_ time: String?, _ process: String?) -> Duration? {
            Notifier.watchdogInterval(microseconds: time, processID: process, ownProcessID: 42)
        }
        #expect(interval("60000000", nil) == .seconds(30))
        #expect(interval("60000000", "42") == .seconds(30))
        #expect(interval("60000000", "43") == nil)
        #expect(interval("60000000", "x") == nil)
        for bad in [nil, "", "0", "-5", "1", "99999999999999999999"] as [String?] {
            #expect(interval(bad, nil) == nil)
        }
    }
}
