import Glibc
import LinuxSystem
import SelfTestProtocol
import SystemPackage
import TestSupport
import Testing

@testable import SelfTestGuest

/// The self-test guest as vfiod has it: another process, reached over its socket.
final class GuestProcess {
    let process: ChildProcess
    let connection: GuestConnection
    let socket: OwnedDescriptor

    init() throws {
        let pair = try UnixSocket.pair(.packets)
        process = try ChildProcess(
            executable: try GuestProcess.executable(), arguments: [], descriptors: [pair.second.rawValue])
        let socket = try pair.first.duplicate()
        connection = GuestConnection(UnixSocket(adopting: try pair.first.duplicate()))
        self.socket = socket
    }

    /// The process's exit, which must come by itself.
    func exit() throws -> ChildProcess.Exit? { try process.wait(milliseconds: 20_000) }

    /// The field of /proc/PID/status.
    func status(_ field: String) throws -> String? {
        try readText("/proc/\(process.processID)/status").split(separator: "\n")
            .first { $0.hasPrefix(field + ":") }
            .map { $0.dropFirst(field.count + 1).trimming { $0.isWhitespace } }
    }

    // Products stand beside the test bundle.
    private static func executable() throws -> String {
        let directory = try readSymbolicLink("/proc/self/exe").split(separator: "/").dropLast()
        return "/" + directory.joined(separator: "/") + "/vfiod-selftest-guest"
    }
}

extension Substring {
    func trimming(_ isTrimmed: (Character) -> Bool) -> String {
        var rest = self
        while let first = rest.first, isTrimmed(first) { rest.removeFirst() }
        while let last = rest.last, isTrimmed(last) { rest.removeLast() }
        return String(rest)
    }
}

@Suite("The self-test guest's process", .enabled(if: Requirements.kvm, "needs /dev/kvm"))
struct GuestProcessTests {
    @Test("events of our eventfds are counted in our memory, over more than one packet and virtual CPU")
    func edges() throws {
        let guest = try GuestProcess()
        let counters = try GuestCounters(slots: 440)
        let notifiers = try (0..<440).map { _ in try EventFD() }
        try guest.connection.setUp(.edge, counters: counters)
        try guest.connection.connect(notifiers)
        for slot in 0..<440 {
            try notifiers[slot].signal()
            #expect(eventually { counters.count(ofSlot: slot) == 1 })
        }
        #expect(counters.strays() == 0)
        #expect(counters.exceptions() == 0)
        try guest.connection.disconnect(count: 440)
        try guest.connection.finish()
        #expect(try guest.exit() == .status(0))
    }

    @Test("a level's end reaches our resample eventfd")
    func level() throws {
        let guest = try GuestProcess()
        let counters = try GuestCounters(slots: 1)
        let (trigger, resample) = (try EventFD(), try EventFD())
        try guest.connection.setUp(.level, counters: counters)
        try guest.connection.connectLevel(trigger: trigger, resample: resample)
        for round in 1...20 as ClosedRange<UInt32> {
            try trigger.signal()
            #expect(eventually { counters.count(ofSlot: 0) == round })
            counters.acknowledge(round)
            #expect(eventually { resample.drain() == 1 })
        }
        try guest.connection.finish()
        #expect(try guest.exit() == .status(0))
    }

    @Test("it has no right but KVM", .enabled(if: getuid() == 0, "needs root, whose rights it gives up"))
    func rights() throws {
        let guest = try GuestProcess()
        let counters = try GuestCounters(slots: 1)
        try guest.connection.setUp(.edge, counters: counters)
        #expect(try guest.status("Uid") == "65534\t65534\t65534\t65534")
        #expect(try guest.status("Gid") == "65534\t65534\t65534\t65534")
        #expect(try guest.status("Groups") == "")
        #expect(try guest.status("CapPrm") == "0000000000000000")
        #expect(try guest.status("CapEff") == "0000000000000000")
        #expect(try guest.status("CapBnd") == "0000000000000000")
        #expect(try guest.status("CapAmb") == "0000000000000000")
        #expect(try guest.status("NoNewPrivs") == "1")
        for output in 1...2 {
            #expect(try readSymbolicLink("/proc/\(guest.process.processID)/fd/\(output)") == "/dev/null")
        }
        try guest.connection.finish()
        #expect(try guest.exit() == .status(0))
    }

    @Test("it ends when vfiod is gone, also in the middle of a level")
    func orphan() throws {
        let counters = try GuestCounters(slots: 1)
        let process: ChildProcess
        do {
            let guest = try GuestProcess()
            let (trigger, resample) = (try EventFD(), try EventFD())
            try guest.connection.setUp(.level, counters: counters)
            try guest.connection.connectLevel(trigger: trigger, resample: resample)
            try trigger.signal()
            #expect(eventually { counters.count(ofSlot: 0) == 1 })
            process = guest.process
        }
        #expect(try process.wait(milliseconds: 20_000) == .status(0))
    }

    @Test(
        "packets that are no messages end it, with a reason and without a trap",
        arguments: [
            "{", "[]", "null", "{}", #"{"finish":{},"finish":{}}"#, #"{"finish":{}} "#, #"{"finish":{"x":1}}"#,
            #"{"connect":{"count":1}}"#, #"{"connect":{"count":1e99,"first":0}}"#,
            #"{"connect":{"count":"1","first":0}}"#, #"{"setUp":{"delivery":"pulse","slots":1}}"#,
            #"{"setUp":{"delivery":"edge","fault":"none","slots":1}}"#, "\u{0}\u{1}\u{2}",
            String(repeating: "[", count: 60_000), String(repeating: "a", count: 70_000),
        ])
    func garbage(packet: String) throws {
        let guest = try GuestProcess()
        let raw = UnixSocket(adopting: try guest.socket.duplicate())
        _ = try raw.send(Array(packet.utf8))
        let channel = GuestChannel(UnixSocket(adopting: try guest.socket.duplicate()))
        let reply = try channel.receive(GuestReply.self, until: monotonicNanoseconds(after: .seconds(20))).message
        guard case .failed(let failure) = reply else {
            Issue.record("\(reply)")
            return
        }
        #expect(failure.kernelError.errno == .badMessage)
        #expect(try guest.exit() == .status(1))
    }

    @Test(
        "requests out of order or out of range are refused, and it goes on",
        arguments: [
            GuestRequest.connect(first: 0, count: 1), .disconnect(first: 0, count: 1),
            .setUp(delivery: .edge, slots: 0, fault: nil), .setUp(delivery: .edge, slots: -1, fault: nil),
            .setUp(delivery: .edge, slots: .max, fault: nil), .setUp(delivery: .level, slots: 2, fault: nil),
        ])
    func refused(request: GuestRequest) throws {
        let guest = try GuestProcess()
        let counters = try GuestCounters(slots: 1)
        let channel = GuestChannel(UnixSocket(adopting: try guest.socket.duplicate()))
        try channel.send(request, descriptors: [counters.descriptor])
        guard case .failed(let failure) = try channel.receive(GuestReply.self).message else {
            Issue.record("not refused")
            return
        }
        #expect(failure.kernelError.errno == .invalidArgument)
        try guest.connection.setUp(.edge, counters: counters)
        let notifier = try EventFD()
        for (first, count) in [(0, 0), (0, -1), (-1, 1), (1, 1), (.max, 1), (.max, .max), (0, .max), (.min, .min)] {
            for request in [GuestRequest.connect(first: first, count: count), .disconnect(first: first, count: count)] {
                try channel.send(request, descriptors: [notifier.rawValue])
                guard case .failed = try channel.receive(GuestReply.self).message else {
                    Issue.record("\(request) was not refused")
                    return
                }
            }
        }
        try guest.connection.connect([notifier])
        try notifier.signal()
        #expect(eventually { counters.count(ofSlot: 0) == 1 })
    }

    @Test("descriptors of the wrong kind or number are refused")
    func wrongDescriptors() throws {
        let guest = try GuestProcess()
        let counters = try GuestCounters(slots: 2)
        let channel = GuestChannel(UnixSocket(adopting: try guest.socket.duplicate()))
        let notifier = try EventFD()
        let small = try SharedMemory(name: "small", length: 4096)
        let setUp = GuestRequest.setUp(delivery: .edge, slots: 2, fault: nil)
        for descriptors in [
            [], [notifier.rawValue], [counters.descriptor, counters.descriptor], [small.descriptor.rawValue],
        ] {
            try channel.send(setUp, descriptors: descriptors)
            guard case .failed = try channel.receive(GuestReply.self).message else {
                Issue.record("\(descriptors.count) descriptors were not refused")
                return
            }
        }
        try guest.connection.setUp(.edge, counters: counters)
        for descriptors in [[], [notifier.rawValue], [notifier.rawValue, counters.descriptor]] {
            try channel.send(GuestRequest.connect(first: 0, count: 2), descriptors: descriptors)
            guard case .failed = try channel.receive(GuestReply.self).message else {
                Issue.record("\(descriptors.count) descriptors were not refused")
                return
            }
        }
        #expect(throws: GuestProtocolError.self) { try guest.connection.setUp(.edge, counters: counters) }
        try guest.connection.connect([notifier, try EventFD()])
        try notifier.signal()
        #expect(eventually { counters.count(ofSlot: 0) == 1 })
    }
}
