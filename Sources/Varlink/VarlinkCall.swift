public import LinuxSystem

/// A call being answered: who asked, and the way to stream.
public struct VarlinkCall: Sendable {
    /// Who asked.
    public let peer: PeerCredentials
    /// The full method name.
    public let method: String
    /// Whether the caller takes more than one reply.
    public let wantsMore: Bool
    /// What came along with it, as many as the method said it takes.
    public let descriptors: ReceivedDescriptors?

    let path: ReplyPath

    init(
        peer: PeerCredentials, method: String, wantsMore: Bool, descriptors: ReceivedDescriptors? = nil, path: ReplyPath
    ) {
        self.peer = peer
        self.method = method
        self.wantsMore = wantsMore
        self.descriptors = descriptors
        self.path = path
    }

    /// Sends `reply` as one of several. Nothing is sent to a caller that did not ask for more. May be called from any
    /// thread until the method returns.
    public func send(_ reply: some Encodable) {
        guard wantsMore else { return }
        path.send(encodeMessage(ReplyEnvelope(parameters: reply, continues: true)))
    }
}

/// How one method is answered.
public struct VarlinkMethod: Sendable {
    let answer: @Sendable ([UInt8], VarlinkCall) async -> VarlinkReply

    /// Answers with what `body` returns or throws. The parameters are decoded strictly before it is called, and no
    /// descriptors may come along.
    public init<Parameters: VarlinkParameters, Reply: Encodable & Sendable>(
        _ body: @escaping @Sendable (Parameters, VarlinkCall) async throws(VarlinkError) -> Reply
    ) {
        self.init(taking: { _ in 0 }) { (parameters: Parameters, call) throws(VarlinkError) in
            (try await body(parameters, call), [])
        }
    }

    /// As above, for a method that takes as many descriptors as `count` says of its parameters, and sends some along
    /// with its reply, at most ``UnixSocket/maximumDescriptors``. A call with more or fewer is answered
    /// InvalidParameter, of `descriptors`, before anything is done.
    public init<Parameters: VarlinkParameters, Reply: Encodable & Sendable>(
        taking count: @escaping @Sendable (Parameters) -> Int,
        _ body:
            @escaping @Sendable (Parameters, VarlinkCall) async throws(VarlinkError) -> (Reply, [SharedDescriptor])
    ) {
        answer = { message, call in
            do throws(VarlinkError) {
                let parameters = try CallParameters<Parameters>.read(message)
                guard count(parameters) == call.descriptors?.rawValues.count ?? 0 else {
                    throw .invalidParameter("descriptors")
                }
                let (reply, descriptors) = try await body(parameters, call)
                return VarlinkReply(encodeMessage(ReplyEnvelope(parameters: reply)), descriptors)
            } catch {
                return VarlinkReply(error.reply)
            }
        }
    }
}

extension VarlinkMethod {
    /// Answers with all that `body` sends, for as long as there is somebody who takes it. The stream ends with the error
    /// that `body` returns. Its task is cancelled when the client is gone or the server stops. A caller that did not ask
    /// for more is refused (ExpectedMore).
    public static func stream<Parameters: VarlinkParameters, Reply: Encodable & Sendable>(
        _ body: @escaping @Sendable (Parameters, VarlinkStream<Reply>) async -> VarlinkError
    ) -> VarlinkMethod {
        VarlinkMethod { (parameters: Parameters, call) async throws(VarlinkError) -> NoParameters in
            guard call.wantsMore else { throw .expectedMore }
            let task = Task { await body(parameters, VarlinkStream(path: call.path)) }
            await call.path.whenNobodyListens { task.cancel() }
            throw await task.value
        }
    }
}

/// A reply as it goes out, without its end mark.
struct VarlinkReply: Sendable {
    let bytes: [UInt8]
    let descriptors: [SharedDescriptor]

    init(_ bytes: [UInt8], _ descriptors: [SharedDescriptor] = []) {
        (self.bytes, self.descriptors) = (bytes, descriptors)
    }
}

/// An interface that is served.
public struct VarlinkInterface: Sendable {
    let description: InterfaceDescription
    let methods: [String: VarlinkMethod]

    /// Serves `description` with `methods` by their name without the interface. A method that is described but not
    /// given is answered MethodNotImplemented.
    public init(_ description: InterfaceDescription, methods: [String: VarlinkMethod]) {
        self.description = description
        self.methods = methods
    }
}
