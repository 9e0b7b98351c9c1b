/// The way of a call's replies to its client.
struct ReplyPath: Sendable {
    /// Takes a reply that is not the last. A client that lets too many wait is dropped.
    let send: @Sendable ([UInt8]) -> Void
    /// Takes a reply that is not the last, and returns when it is in the client's socket: false if it never will be.
    let sendInTurn: @Sendable ([UInt8]) async -> Bool
    /// Has something done, once, when the client is gone or the server stops.
    let whenNobodyListens: @Sendable (@escaping @Sendable () -> Void) async -> Void
}

/// The replies of a method that goes on sending. A slow client slows them down, so that never more than one waits for it.
public struct VarlinkStream<Reply: Encodable & Sendable>: Sendable {
    let path: ReplyPath

    /// Sends a reply when the client has taken those before it. Returns false when nobody takes any more.
    public func send(_ reply: Reply) async -> Bool {
        await path.sendInTurn(encodeMessage(ReplyEnvelope(parameters: reply, continues: true)))
    }
}
