import Glibc
import InterruptSources
import LinuxSystem
import Logging
import PCI
import Passthrough
import SystemPackage
import TestSupport
import Testing
import Varlink
import VfiodAPI

@testable import VfiodDaemon

extension LeaseSocket {
    fileprivate func connect() throws -> SessionClient { try SessionClient(path: path) }
}

/// A client that sends descriptors with its calls and takes those of the replies. Its calls block.
private final class SessionClient: Sendable {
    private let socket: UnixSocket
    private let lane: BlockingLane

    init(path: String) throws {
        socket = try UnixSocket(connectingTo: path)
        lane = try BlockingLane(name: "client")
    }

    /// The reply as text, and its descriptors; nil at the end of the connection.
    func call(
        _ method: String, _ parameters: String = "{}", _ descriptors: [CInt] = []
    ) async throws -> (text: String, descriptors: [SharedDescriptor])? {
        try await send(#"{"method":"io.vfiod.lease.\#(method)","parameters":\#(parameters)}"#, descriptors)
        return try await receive()
    }

    func send(_ text: String, _ descriptors: [CInt] = []) async throws {
        try await send(part: text + "\0", descriptors)
    }

    func send(part: String, _ descriptors: [CInt]) async throws {
        _ = try await lane.run { [self] () throws(KernelError) in
            try socket.send(Array(part.utf8), descriptors: descriptors)
        }
    }

    func receive() async throws -> (text: String, descriptors: [SharedDescriptor])? {
        try await lane.run { [self] () throws(KernelError) in
            var bytes: [UInt8] = []
            var descriptors: [SharedDescriptor] = []
            while bytes.last != 0 {
                let message = try socket.receive()
                if message.bytes.isEmpty { return nil }
                bytes += message.bytes
                descriptors += message.descriptors
            }
            return (String(decoding: bytes.dropLast(), as: UTF8.self), descriptors)
        }
    }
}

@Suite("Sockets of leases")
struct LeaseServerTests {
    @Test("a session's methods do what they say, with descriptors both ways")
    func methods() async throws {
        let lease = try await LeaseSocket()
        let client = try lease.connect()
        #expect(try await client.call("Describe")?.text.contains(#""msix":5"#) == true)
        let device = try #require(try await client.call("OpenDevice"))
        #expect(device.text == #"{"parameters":{}}"# && device.descriptors.count == 1)
        let memory = try SharedMemory(name: "guest", length: 8192)
        let range = #"{"iova":4096,"size":8192,"offset":0,"writable":true}"#
        #expect(try await client.call("MapMemory", range, [memory.descriptor.rawValue])?.text == #"{"parameters":{}}"#)
        let session = try #require(await lease.devices.sessions[lease.address])
        #expect(session.mapped.withLock { $0.keys.map(\.first) } == [4096])
        #expect(try await client.call("UnmapMemory", #"{"iova":4096,"size":8192}"#)?.text == #"{"parameters":{}}"#)
        let own = try EventFD()
        let notifiers = #"{"type":"msix","first":1,"count":1}"#
        #expect(try await client.call("SetNotifiers", notifiers, [own.rawValue])?.text == #"{"parameters":{}}"#)
        #expect(try await client.call("Enable", #"{"type":"msix"}"#)?.text == #"{"parameters":{}}"#)
        let handed = try #require(
            try await client.call("GetNotifiers", #"{"type":"msix","first":0,"count":5}"#)?.descriptors)
        #expect(handed.count == 5)
        session.messages.raise(1)
        #expect(own.drain() == 1)
        session.messages.raise(0)
        let first = try EventFD(adopting: try handed[0].duplicate())
        #expect(first.drain() == 1)
        for method in ["Mask", "Unmask", "Trigger"] {
            #expect(try await client.call(method, #"{"type":"msix","vector":2}"#)?.text == #"{"parameters":{}}"#)
        }
        #expect(try await client.call("GetResampleNotifier")?.descriptors.count == 1)
        #expect(try await client.call("Disable", #"{"type":"msix"}"#)?.text == #"{"parameters":{}}"#)
        #expect(try await client.call("Reset")?.text == #"{"parameters":{}}"#)
        #expect(session.resets.withLock { $0 } == 1)
    }

    @Test("too few, too many and wrong descriptors are named errors, change nothing, and leave nothing open")
    func wrongDescriptors() async throws {
        let lease = try await LeaseSocket()
        let client = try lease.connect()
        _ = try await client.call("Describe")
        let eventfd = try EventFD()
        let memory = try SharedMemory(name: "wrong-descriptors", length: 4096)
        let range = #"{"iova":0,"size":4096,"offset":0,"writable":true}"#
        let notifiers = #"{"type":"msix","first":0,"count":2}"#
        let cases: [(String, String, [CInt], String)] = [
            ("MapMemory", range, [], "InvalidParameter"),
            ("MapMemory", range, [memory.descriptor.rawValue, memory.descriptor.rawValue], "InvalidParameter"),
            ("MapMemory", range, [eventfd.rawValue], "BadMemory"),
            ("SetNotifiers", notifiers, [eventfd.rawValue], "InvalidParameter"),
            ("SetNotifiers", notifiers, [eventfd.rawValue, memory.descriptor.rawValue], "KernelRefused"),
            ("SetNotifiers", #"{"type":"msix","first":0,"count":0}"#, [eventfd.rawValue], "InvalidParameter"),
            (
                "SetNotifiers", #"{"type":"msix","first":4,"count":2}"#, [eventfd.rawValue, eventfd.rawValue],
                "InterruptsRefused"
            ),
            ("Describe", "{}", [eventfd.rawValue], "InvalidParameter"),
            (
                "MapMemory", #"{"iova":-1,"size":4096,"offset":0,"writable":true}"#, [memory.descriptor.rawValue],
                "InvalidParameter"
            ),
            (
                "MapMemory", #"{"iova":1,"size":4096,"offset":0,"writable":true}"#, [memory.descriptor.rawValue],
                "BadRange"
            ),
        ]
        for (method, parameters, descriptors, error) in cases {
            let reply = try #require(try await client.call(method, parameters, descriptors))
            #expect(reply.text.contains(error), "\(method) \(parameters): \(reply.text)")
        }
        let session = try #require(await lease.devices.sessions[lease.address])
        #expect(session.mapped.withLock { $0.isEmpty })
        for descriptor in [memory.descriptor.rawValue, eventfd.rawValue] {
            while try openDescriptors(like: descriptor) > 1 { try await Task.sleep(for: .milliseconds(1)) }
        }
    }

    /// How many descriptors of this process are of the same file: other tests have theirs at the same time.
    private func openDescriptors(like descriptor: CInt) throws -> Int {
        // What a memory is called, and the number that each eventfd has (eventfd-id in fdinfo, fs/eventfd.c).
        func file(_ name: String) -> [String] {
            let info = (try? readText("/proc/self/fdinfo/\(name)", limit: 4096)) ?? ""
            let id = info.split(separator: "\n").filter { $0.hasPrefix("eventfd-id") }.map(String.init)
            return [(try? readSymbolicLink("/proc/self/fd/\(name)")) ?? ""] + id
        }
        let wanted = file("\(descriptor)")
        return try listDirectory("/proc/self/fd").count { file($0) == wanted }
    }

    @Test("descriptors belong to the message that they came with, also when it comes right behind another")
    func pipelined() async throws {
        let lease = try await LeaseSocket()
        let client = try lease.connect()
        _ = try await client.call("Describe")
        let memory = try SharedMemory(name: "guest", length: 4096)
        // The first keeps the server busy while the others come; they are cut out of what is there then.
        for _ in 0..<3 { try await client.send(#"{"method":"io.vfiod.lease.Describe"}"#) }
        try await client.send(
            #"{"method":"io.vfiod.lease.MapMemory","parameters":{"iova":0,"size":4096,"offset":0,"writable":false}}"#,
            [memory.descriptor.rawValue])
        var replies = ""
        while replies.split(separator: "\0").count < 4 || !replies.hasSuffix("{}}\0") {
            replies += try #require(try await client.receive()).text + "\0"
            if replies.contains("error") { break }
        }
        #expect(!replies.contains("error"), "\(replies)")
        let session = try #require(await lease.devices.sessions[lease.address])
        #expect(session.mapped.withLock { $0.count } == 1)
    }

    @Test("a flood of descriptors that no message takes ends the connection, and the session with it")
    func flood() async throws {
        let lease = try await LeaseSocket()
        let client = try lease.connect()
        _ = try await client.call("Describe")
        let eventfd = try EventFD()
        let many = [CInt](repeating: eventfd.rawValue, count: UnixSocket.maximumDescriptors)
        try await client.send(part: #"{"method":"io.vfiod.lease.Describe","#, many)
        try await client.send(#""parameters":{}}"#, [eventfd.rawValue])
        let text = try #require(try await client.receive()).text
        #expect(text.contains("io.vfiod.lease.ProtocolError"))
        while await lease.devices.ends.isEmpty { try await Task.sleep(for: .milliseconds(1)) }
        #expect(await lease.devices.ends == [.connectionClosed])
    }

    @Test("a second connection is told who has the session; when that is closed, the next one begins")
    func oneAtATime() async throws {
        let lease = try await LeaseSocket()
        do {
            let client = try lease.connect()
            _ = try await client.call("Describe")
            let second = try lease.connect()
            let refused = try #require(try await second.receive())
            #expect(refused.text.contains("io.vfiod.lease.SessionInUse") && refused.text.contains("\(getpid())"))
            #expect(try await second.receive() == nil)
            #expect(try await client.call("Describe")?.text.contains("msix") == true)
        }
        while await lease.devices.ends.isEmpty { try await Task.sleep(for: .milliseconds(1)) }
        #expect(await lease.devices.ends == [.connectionClosed])
        // Who comes before that is over is turned away, in the middle of the call.
        while await begins(lease) == false {
            try await Task.sleep(for: .milliseconds(1))
        }
    }

    private func begins(_ lease: LeaseSocket) async -> Bool {
        do {
            return try await lease.connect().call("Describe")?.text.contains("msix") ?? false
        } catch {
            return false
        }
    }

    @Test("a session that the host ends closes the connection; Detach closes the socket")
    func endedByHost() async throws {
        let lease = try await LeaseSocket()
        let client = try lease.connect()
        _ = try await client.call("Describe")
        await lease.devices.endSession(lease.address, .askedBack)
        #expect(try await client.receive() == nil)
        _ = try await lease.devices.detach(lease.address, dryRun: false) { _ in }
        #expect(throws: KernelError.self) { _ = try UnixSocket(connectingTo: lease.path) }
        #expect(!pathExists(lease.path))
    }

    @Test("a device that is not ready says so to whoever connects")
    func notReady() async throws {
        let lease = try await LeaseSocket()
        await lease.devices.fail(.deviceNotFound("0000:00:10.0"))
        let text = try #require(try await lease.connect().call("Describe")).text
        #expect(text.contains("io.vfiod.lease.NotReady") && text.contains("held"))
    }

    @Test("the socket is its owner's alone, unless a group was given")
    func permissions() async throws {
        let lease = try await LeaseSocket()
        func mode() -> UInt32 {
            var status = stat()
            return unsafe lstat(lease.path, &status) == 0 ? status.st_mode & 0o777 : 0
        }
        #expect(mode() == 0o600)
        let owner = LeaseOwner(user: getuid(), group: getgid())
        _ = try await lease.devices.attach(lease.address, to: owner, .descriptors, consent: [], dryRun: false)
        #expect(mode() == 0o660)
    }
}
