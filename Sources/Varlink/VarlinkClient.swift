public import LinuxSystem

/// Why a call brought no reply.
public enum VarlinkClientError: Error, Sendable {
    /// The service cannot be reached, or the connection broke.
    case unreachable(KernelError)
    /// The service ended the connection before it answered.
    case closed
    /// What came is no reply.
    case unintelligible(reason: String)
    /// The service answered with an error.
    case refused(VarlinkError)
}

/// A connection to a Varlink service, for programs that do one call at a time. Every call blocks.
public struct VarlinkClient: ~Copyable {
    private let socket: UnixSocket
    private var reader = FrameReader(framing: .nul, limit: 64 << 20)
    private var waiting: [FrameReader.Frame] = []

    /// Connects to the service at `path`.
    public init(path: String) throws(VarlinkClientError) {
        do throws(KernelError) {
            socket = try UnixSocket(connectingTo: path)
        } catch {
            throw .unreachable(error)
        }
    }

    /// Calls `method` and waits for its reply.
    public mutating func call<Reply: Decodable>(
        _ method: String, _ parameters: some Encodable, as reply: Reply.Type
    ) throws(VarlinkClientError) -> Reply {
        try send(encodeMessage(SentCall(method: method, parameters: parameters)))
        let (reply, continues) = try receive(Reply.self)
        if continues { throw .unintelligible(reason: "a further reply was announced that nobody asked for") }
        return reply
    }

    /// Calls `method` and gives every reply to `each`, the last one included.
    public mutating func stream<Reply: Decodable>(
        _ method: String, _ parameters: some Encodable, as reply: Reply.Type, each: (Reply) -> Void
    ) throws(VarlinkClientError) {
        try send(encodeMessage(SentCall(method: method, parameters: parameters, more: true)))
        while true {
            let (reply, continues) = try receive(Reply.self)
            each(reply)
            if !continues { return }
        }
    }

    private func send(_ message: [UInt8]) throws(VarlinkClientError) {
        var rest = (message + [0])[...]
        do throws(KernelError) {
            while !rest.isEmpty { rest = rest.dropFirst(try socket.send(Array(rest))) }
        } catch {
            throw .unreachable(error)
        }
    }

    private mutating func receive<Reply: Decodable>(
        _ type: Reply.Type
    ) throws(VarlinkClientError) -> (Reply, continues: Bool) {
        while waiting.isEmpty {
            let bytes: [UInt8]
            do throws(KernelError) {
                let message = try socket.receive()
                bytes = message.bytes
            } catch {
                throw .unreachable(error)
            }
            guard !bytes.isEmpty else { throw .closed }
            waiting = reader.feed(bytes)
        }
        switch waiting.removeFirst() {
        case .violation(let violation): throw .unintelligible(reason: "\(violation)")
        case .message(let message): return try readReply(message, as: type)
        }
    }
}
