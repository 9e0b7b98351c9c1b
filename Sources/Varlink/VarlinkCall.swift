public import LinuxSystem

/// A call being answered: who asked, and the way to stream.
public struct VarlinkCall: Sendable {
    /// Who asked.
    public let peer: PeerCredentials
    /// The full method name.
    public let method: String
    /// Whether the caller takes more than one reply.
    public let wantsMore: Bool

    private let stream: @Sendable ([UInt8]) -> Void

    init(peer: PeerCredentials, method: String, wantsMore: Bool, stream: @escaping @Sendable ([UInt8]) -> Void) {
        self.peer = peer
        self.method = method
        self.wantsMore = wantsMore
        self.stream = stream
    }

    /// Sends `reply` as one of several. Nothing is sent to a caller that did not ask for more. May be called from any
    /// thread until the method returns.
    public func send(_ reply: some Encodable) {
        guard wantsMore else { return }
        stream(encodeMessage(ReplyEnvelope(parameters: reply, continues: true)))
    }
}

/// How one method is answered.
public struct VarlinkMethod: Sendable {
    let answer: @Sendable ([UInt8], VarlinkCall) async -> [UInt8]

    /// Answers with what `body` returns or throws. The parameters are decoded strictly before it is called.
    public init<Parameters: VarlinkParameters, Reply: Encodable & Sendable>(
        _ body: @escaping @Sendable (Parameters, VarlinkCall) async throws(VarlinkError) -> Reply
    ) {
        answer = { message, call in
            do throws(VarlinkError) {
                let parameters = try CallParameters<Parameters>.read(message)
                return encodeMessage(ReplyEnvelope(parameters: try await body(parameters, call)))
            } catch {
                return error.reply
            }
        }
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
