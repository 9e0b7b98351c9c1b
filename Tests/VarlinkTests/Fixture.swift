import LinuxSystem
import TestSupport
import Varlink

/// A service with a few methods, on a real socket in a temporary directory.
final class Fixture: Sendable {
    struct Text: VarlinkParameters, Hashable {
        static let fields = ["text"]
        var text: String
    }

    struct Numbers: VarlinkParameters, Hashable {
        static let fields = ["count", "list"]
        var count: Int?
        var list: [Int]?
    }

    let directory: TemporaryDirectory
    let loop: EventLoop
    let server: VarlinkServer
    let events: AsyncStream<VarlinkServer.Event>
    /// Let one waiting call of `Wait` go on.
    let gate = Gate()
    let calls = Calls()

    var path: String { directory.file("s") }

    init(limits: VarlinkServer.Limits = VarlinkServer.Limits()) async throws {
        directory = try TemporaryDirectory()
        loop = try EventLoop(name: "test")
        let description = try InterfaceDescription(
            parsing: """
                interface org.example.test
                method Echo(text: string) -> (text: string)
                method Sum(count: ?int, list: ?[]int) -> (count: ?int, list: ?[]int)
                method Count(count: ?int, list: ?[]int) -> (count: ?int, list: ?[]int)
                method Wait(text: string) -> (text: string)
                method Follow(count: ?int, list: ?[]int) -> (count: ?int, list: ?[]int)
                method Fail() -> ()
                method Missing() -> ()
                error Broken (reason: string)
                error Failed (text: string)
                """)
        let (events, report) = AsyncStream.makeStream(of: VarlinkServer.Event.self)
        self.events = events
        let methods: [String: VarlinkMethod] = [
            "Echo": VarlinkMethod { [calls] (asked: Text, _) in
                calls.add(asked.text)
                return asked
            },
            "Sum": VarlinkMethod { (asked: Numbers, _) in
                Numbers(count: (asked.list ?? []).reduce(0, &+) &+ (asked.count ?? 0), list: nil)
            },
            "Count": VarlinkMethod { (asked: Numbers, call) in
                for number in 0..<(asked.count ?? 0) { call.send(Numbers(count: number, list: asked.list)) }
                return Numbers(count: asked.count, list: nil)
            },
            "Wait": VarlinkMethod { [gate, calls] (asked: Text, _) in
                await gate.pass()
                calls.add(asked.text)
                return asked
            },
            "Follow": .stream { [calls] (asked: Numbers, replies: VarlinkStream<Numbers>) in
                let (numbers, source) = AsyncStream.makeStream(of: Int.self)
                for number in 0..<(asked.count ?? 0) { source.yield(number) }
                for await number in numbers {
                    calls.add("\(number)")
                    guard await replies.send(Numbers(count: number, list: asked.list)) else { break }
                }
                calls.add(Task.isCancelled ? "cancelled" : "ended")
                return VarlinkError("org.example.test.Failed", Text(text: "over"))
            },
            "Fail": VarlinkMethod { (_: NoParameters, _) throws(VarlinkError) -> NoParameters in
                throw VarlinkError("org.example.test.Failed", Text(text: "as asked"))
            },
        ]
        let service = try VarlinkService(
            VarlinkService.Information(vendor: "v", product: "p", version: "1", url: "u"),
            interfaces: [VarlinkInterface(description, methods: methods)], protocolError: "org.example.test.Broken")
        server = VarlinkServer(service, on: loop, limits: limits) { report.yield($0) }
        try await server.listen(UnixListener(path: directory.file("s")))
    }

    deinit { loop.stop() }

    /// A raw connection to the server. Blocking, as socat's is.
    func connect() throws -> RawClient { try RawClient(path: path) }
}

/// What was carried out.
final class Calls: Sendable {
    private let texts = Lock<[String]>([])
    var all: [String] { texts.withLock { $0 } }
    func add(_ text: String) { texts.withLock { $0.append(text) } }
}

/// Lets callers wait until they are let through.
actor Gate {
    private var open = 0
    private var waiting: [CheckedContinuation<Void, Never>] = []
    private var arrivals: [CheckedContinuation<Void, Never>] = []
    private var arrived = 0

    func pass() async {
        arrived += 1
        for arrival in arrivals { arrival.resume() }
        arrivals = []
        if open > 0 {
            open -= 1
        } else {
            await withCheckedContinuation { waiting.append($0) }
        }
    }

    func letOne() {
        if waiting.isEmpty {
            open += 1
        } else {
            waiting.removeFirst().resume()
        }
    }

    /// Returns when somebody has come to the gate.
    func someoneArrived() async {
        if arrived == 0 { await withCheckedContinuation { arrivals.append($0) } }
    }
}

/// Runs what blocks on a thread of its own: Swift's own threads are needed to answer the calls.
func blocking<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) async throws -> Value {
    try await BlockingLane(name: "test").run(body)
}

/// A client that sends bytes as they are. Sending and receiving have a thread each.
final class RawClient: Sendable {
    private let socket: UnixSocket
    private let sender: BlockingLane
    private let receiver: BlockingLane

    init(path: String) throws {
        socket = try UnixSocket(connectingTo: path)
        sender = try BlockingLane(name: "sender")
        receiver = try BlockingLane(name: "receiver")
    }

    func send(_ text: String) async throws { try await send(Array(text.utf8)) }

    func send(_ bytes: [UInt8], descriptors: [SharedDescriptor] = []) async throws {
        try await sender.run { [self] () throws(KernelError) in
            var rest = bytes[...]
            var unsent = descriptors[...]
            while !rest.isEmpty {
                rest = rest.dropFirst(try socket.send(Array(rest), descriptors: unsent.map(\.rawValue)))
                unsent = []
            }
        }
    }

    func endSending() throws { try socket.shutdownWriting() }

    /// Everything until the server closes.
    func readAll() async throws -> String { String(decoding: try await receive(Int.max, endMark: 0), as: UTF8.self) }

    /// One byte: then the server has begun to send.
    func readByte() async throws -> [UInt8] {
        try await receiver.run { [self] () throws(KernelError) in try socket.receive(limit: 1).bytes }
    }

    /// Everything until `count` end marks have come.
    func read(_ count: Int, endMark: UInt8 = 0) async throws -> [String] {
        let all = try await receive(count, endMark: endMark)
        return all.split(separator: endMark).map { String(decoding: $0, as: UTF8.self) }
    }

    private func receive(_ count: Int, endMark: UInt8) async throws -> [UInt8] {
        try await receiver.run { [self] () throws(KernelError) in
            var all: [UInt8] = []
            var missing = count
            while missing > 0 {
                let message = try socket.receive()
                if message.bytes.isEmpty { break }
                missing -= message.bytes.count { $0 == endMark }
                all += message.bytes
            }
            return all
        }
    }
}
