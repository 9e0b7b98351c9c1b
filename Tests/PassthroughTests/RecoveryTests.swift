import LinuxSystem
import PCI
import SystemPackage
import TestSupport
import Testing

@testable import Passthrough

@Suite("Recovery", .serialized) struct RecoveryTests {
    /// What the host was like after each write of an operation: what a vfiod killed there leaves behind.
    private final class Crashes: Sendable {
        private let copies = Lock<[FakeHost]>([])
        var all: [FakeHost] { copies.withLock { $0 } }

        func add(_ copy: FakeHost?) {
            if let copy { copies.withLock { $0.append(copy) } }
        }
    }

    /// Lets a new vfiod take up what is there, and waits for what it began.
    private func restart(_ fake: FakeHost) async throws -> (fixture: HostFixture, findings: [RecoveryFinding]) {
        let fixture = try HostFixture(fake)
        let findings = try await fixture.host.recover()
        await fixture.host.settled(fixture.nic)
        return (fixture, findings)
    }

    @Test("A bind that was killed after any of its writes is taken back") func killedBind() async throws {
        let fixture = try HostFixture()
        let before = fixture.fake.settings(of: fixture.nic)
        let crashes = Crashes()
        let fake = fixture.fake
        fake.afterWrite { [weak fake] _ in crashes.add(fake.flatMap { try? FakeHost(copying: $0) }) }
        _ = try await fixture.bind()
        #expect(crashes.all.count == 3)
        for copy in crashes.all {
            let (after, findings) = try await restart(copy)
            #expect(findings.map(\.outcome) == [.rollingBack])
            #expect(copy.settings(of: after.nic) == before)
            #expect(!after.hasRecord)
            #expect(try await after.state() == .available)
        }
    }

    @Test("A restore that was killed after any of its writes is finished") func killedRestore() async throws {
        let fixture = try HostFixture()
        let before = fixture.fake.settings(of: fixture.nic)
        _ = try await fixture.bind()
        let crashes = Crashes()
        let fake = fixture.fake
        fake.set(fixture.nic, "reset_method", "pm\n")
        fake.afterWrite { [weak fake] _ in crashes.add(fake.flatMap { try? FakeHost(copying: $0) }) }
        _ = try await fixture.restore()
        #expect(crashes.all.count == 5)
        for copy in crashes.all {
            let (after, findings) = try await restart(copy)
            #expect(findings.map(\.outcome) == [.finishing])
            #expect(copy.settings(of: after.nic) == before)
            #expect(!after.hasRecord)
        }
    }

    @Test("A bound device stays bound, and Restore still knows what it was like") func bound() async throws {
        let first = try HostFixture()
        let before = first.fake.settings(of: first.nic)
        _ = try await first.bind()
        let (second, findings) = try await restart(first.fake)
        #expect(findings.map(\.outcome) == [.bound])
        #expect(try await second.state() == .bound)
        _ = try await second.restore()
        #expect(second.fake.settings(of: second.nic) == before)
    }

    @Test("A restore that was killed while a process holds the device ends when that goes") func heldRestore()
        async throws
    {
        let first = try HostFixture()
        let before = first.fake.settings(of: first.nic)
        _ = try await first.bind()
        let record = try #require(first.fake.content(first.recordPath))
        first.fake.set(first.recordPath, record.replacing("\"bound\"", with: "\"restoring\""))
        try first.fake.hold(first.nic)
        first.fake.addProcess(78, command: "holder", open: ["/dev/vfio/3"])

        let second = try HostFixture(first.fake)
        #expect(try await second.host.recover().map(\.outcome) == [.finishing])
        await second.wait { second.fake.isBlocked(second.nic) }
        #expect(try await second.state() == .busy)
        let clock = second.clock
        await second.wait {
            clock.advance(by: .seconds(1))
            return (try? await second.host.describe(second.nic).operation?.note)?.contains("process 78 (holder)")
                == true
        }
        try second.fake.release(second.nic)
        await second.host.settled(second.nic)
        #expect(second.fake.settings(of: second.nic) == before)
        #expect(!second.hasRecord)
    }

    @Test("Recovery that fails is tried again until it succeeds") func retried() async throws {
        let first = try HostFixture()
        let before = first.fake.settings(of: first.nic)
        _ = try await first.bind()
        let record = try #require(first.fake.content(first.recordPath))
        first.fake.set(first.recordPath, record.replacing("\"bound\"", with: "\"restoring\""))
        first.fake.setRefusal("e1000e", of: first.nic)

        let second = try HostFixture(first.fake)
        _ = try await second.host.recover()
        let binds = "drivers/e1000e/bind"
        await second.advance { second.fake.writes.filter { $0.attribute == binds }.count >= 3 }
        #expect(try await second.state() == .busy)
        #expect(second.hasRecord)
        second.fake.setRefusal("e1000e", of: second.nic, false)
        await second.advance { await second.host.isIdle(second.nic) }
        #expect(second.fake.settings(of: second.nic) == before)
        #expect(!second.hasRecord)
    }

    @Test("After a restart of the host there is nothing to give back", arguments: ["bound", "binding", "restoring"])
    func otherBoot(phase: String) async throws {
        let first = try HostFixture()
        _ = try await first.bind()
        let record = try #require(first.fake.content(first.recordPath))
        first.fake.set(first.recordPath, record.replacing("\"bound\"", with: "\"\(phase)\""))
        first.fake.set("/proc/sys/kernel/random/boot_id", "3333-4444\n")
        let writes = first.fake.writes.count
        let (second, findings) = try await restart(first.fake)
        #expect(findings.map(\.outcome) == [.closed])
        #expect(!second.hasRecord)
        #expect(second.fake.writes.count == writes)
    }

    @Test("A record of a device that is another one by now is closed") func otherDevice() async throws {
        let first = try HostFixture()
        _ = try await first.bind()
        first.fake.set(first.nic, "device", "0x9999\n")
        let (second, findings) = try await restart(first.fake)
        #expect(findings.map(\.outcome) == [.closed])
        #expect(!second.hasRecord)
    }

    @Test("A device that somebody else took is said to have drifted") func drifted() async throws {
        let first = try HostFixture()
        _ = try await first.bind()
        try first.fake.write("\(first.nic)", to: first.fake.root + "/sys/bus/pci/drivers/vfio-pci/unbind")
        let (second, findings) = try await restart(first.fake)
        #expect(findings.map(\.outcome) == [.drifted])
        #expect(try await second.state() == .available)
    }

    @Test(
        "A record that cannot be followed is kept aside and named",
        arguments: [
            "", "{", "[]", "null", "\u{0}", "{\"version\": 1}", "DEVICE", "VERSION", "DRIVER",
            String(repeating: "{\"a\":", count: 200), String(repeating: "x", count: 100_000),
        ])
    func corrupt(content: String) async throws {
        let first = try HostFixture()
        _ = try await first.bind()
        let record = try #require(first.fake.content(first.recordPath))
        let changed =
            switch content {
            case "DEVICE": record.replacing("0000:00:11.0", with: "0000:00:12.0")
            case "VERSION": record.replacing("\"version\" : 1", with: "\"version\" : 2")
            case "DRIVER": record.replacing("\"e1000e\"", with: "\"../../devices\"")
            default: content
            }
        #expect(changed != record)
        first.fake.set(first.recordPath, changed)
        let writes = first.fake.writes.count
        let (second, findings) = try await restart(first.fake)
        #expect(findings.map(\.outcome) == [.corrupt])
        #expect(findings.first?.message.contains("0000:00:11.0") == true)
        #expect(!second.hasRecord)
        #expect(second.fake.content(second.recordPath + ".corrupt") == changed)
        #expect(second.fake.writes.count == writes)
        #expect(try await second.state() == .foreign)
        #expect(try await restart(first.fake).findings.isEmpty)
    }

    @Test("Files that are no records are left alone") func strangers() async throws {
        let fixture = try HostFixture()
        fixture.fake.set("/var/lib/vfiod/0000:00:11.0.json.new", "half a rec")
        fixture.fake.set("/var/lib/vfiod/notes.json", "{}")
        fixture.fake.set("/var/lib/vfiod/README", "")
        #expect(try await fixture.host.recover().isEmpty)
        #expect(fixture.fake.content("/var/lib/vfiod/notes.json") == "{}")
    }
}
