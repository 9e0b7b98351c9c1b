public import LinuxSystem

/// One whole message, and the descriptors that came with it.
public struct VFIOUserMessage: Sendable {
    /// Its header.
    public let header: VFIOUserHeader
    /// What comes after that.
    public let payload: [UInt8]
    /// Nil for none.
    public let descriptors: ReceivedDescriptors?

    /// Creates a message.
    public init(header: VFIOUserHeader, payload: [UInt8], descriptors: ReceivedDescriptors? = nil) {
        (self.header, self.payload, self.descriptors) = (header, payload, descriptors)
    }
}

/// Why the bytes of a connection are no sequence of messages.
public enum VFIOUserViolation: Error, Hashable, Sendable, CustomStringConvertible {
    /// A header says that its message ends before itself.
    case tooShort(UInt32)
    /// A message is longer than `limit` bytes.
    case tooLong(UInt32, limit: Int)
    /// More than `limit` descriptors came with a message.
    case descriptors(limit: Int)

    /// One clause for people.
    public var description: String {
        switch self {
        case .tooShort(let size): "a message of \(size) bytes is shorter than its header"
        case .tooLong(let size, let limit): "a message of \(size) bytes is longer than \(limit)"
        case .descriptors(let limit): "more than \(limit) descriptors came with a message"
        }
    }
}

/// Cuts a stream of bytes into messages, without any I/O. After a violation nothing more is to be fed: where the next
/// message begins is not known.
public struct VFIOUserFrameReader: Sendable {
    private let messageLimit: Int
    private let descriptorLimit: Int
    private var buffer: [UInt8] = []
    private var descriptors: ReceivedDescriptors?

    /// Creates a reader for messages of at most `messageLimit` bytes, header among them.
    public init(messageLimit: Int, descriptorLimit: Int = UnixSocket.maximumDescriptors) {
        (self.messageLimit, self.descriptorLimit) = (messageLimit, descriptorLimit)
    }

    /// Whether no part of a message waits for its rest.
    public var isBetweenMessages: Bool { buffer.isEmpty && descriptors == nil }

    /// Takes what one read brought, and returns what it completes, in order.
    ///
    /// A read ends behind the bytes that descriptors came with (unix_stream_read_generic, net/unix/af_unix.c), so they
    /// belong to the message that it ends in, or ends with.
    public mutating func feed(
        _ bytes: [UInt8], _ came: ReceivedDescriptors? = nil
    ) throws(VFIOUserViolation) -> [VFIOUserMessage] {
        buffer += bytes
        var whole: [(VFIOUserHeader, [UInt8])] = []
        var position = 0
        while let header = VFIOUserHeader(Array(buffer[position...].prefix(VFIOUserHeader.size))) {
            guard header.messageSize >= VFIOUserHeader.size else { throw .tooShort(header.messageSize) }
            guard header.messageSize <= messageLimit, let size = Int(exactly: header.messageSize) else {
                throw .tooLong(header.messageSize, limit: messageLimit)
            }
            guard buffer.count - position >= size else { break }
            whole.append((header, Array(buffer[position + VFIOUserHeader.size..<position + size])))
            position += size
        }
        buffer.removeFirst(position)
        // Those that came before belong to the first message that ends here.
        let earlier = descriptors
        var messages: [VFIOUserMessage] = []
        for (index, (header, payload)) in whole.enumerated() {
            var own = index == 0 ? earlier : nil
            if index == whole.count - 1, buffer.isEmpty, let came { own = join(own, came) }
            messages.append(VFIOUserMessage(header: header, payload: payload, descriptors: own))
        }
        if !whole.isEmpty { descriptors = nil }
        if let came, !buffer.isEmpty || whole.isEmpty { descriptors = join(descriptors, came) }
        let most = (messages.map(\.descriptors) + [descriptors]).map { $0?.rawValues.count ?? 0 }.max() ?? 0
        guard most <= descriptorLimit else { throw .descriptors(limit: descriptorLimit) }
        return messages
    }

    private func join(_ earlier: ReceivedDescriptors?, _ later: ReceivedDescriptors) -> ReceivedDescriptors {
        earlier.map { ReceivedDescriptors($0, then: later) } ?? later
    }
}
