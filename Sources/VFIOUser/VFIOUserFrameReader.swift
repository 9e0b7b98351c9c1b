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

    /// Takes what one read brought. Returns what it completes, in order, and what stands against what comes after that.
    ///
    /// A read ends behind the bytes that descriptors came with (unix_stream_read_generic, net/unix/af_unix.c), so they
    /// belong to the message that it ends in, or ends with. Those of an earlier read are of the first that ends in this.
    public mutating func feed(
        _ bytes: [UInt8], _ came: ReceivedDescriptors? = nil
    ) -> (messages: [VFIOUserMessage], violation: VFIOUserViolation?) {
        buffer += bytes
        var came = came
        var messages: [VFIOUserMessage] = []
        var position = 0
        defer { buffer.removeFirst(position) }
        do throws(VFIOUserViolation) {
            while let (header, size) = try header(at: position), buffer.count - position >= size {
                let payload = Array(buffer[position + VFIOUserHeader.size..<position + size])
                position += size
                var own = descriptors
                descriptors = nil
                if position == buffer.count, let last = came {
                    own = try join(own, last)
                    came = nil
                }
                messages.append(VFIOUserMessage(header: header, payload: payload, descriptors: own))
            }
            if let came { descriptors = try join(descriptors, came) }
            return (messages, nil)
        } catch {
            return (messages, error)
        }
    }

    /// The header there, and how long its message is; nil if it is not whole yet.
    private func header(at position: Int) throws(VFIOUserViolation) -> (VFIOUserHeader, size: Int)? {
        guard let header = VFIOUserHeader(Array(buffer[position...].prefix(VFIOUserHeader.size))) else { return nil }
        guard header.messageSize >= VFIOUserHeader.size else { throw .tooShort(header.messageSize) }
        guard header.messageSize <= messageLimit, let size = Int(exactly: header.messageSize) else {
            throw .tooLong(header.messageSize, limit: messageLimit)
        }
        return (header, size)
    }

    private func join(
        _ earlier: ReceivedDescriptors?, _ later: ReceivedDescriptors
    ) throws(VFIOUserViolation) -> ReceivedDescriptors {
        let all = earlier.map { ReceivedDescriptors($0, then: later) } ?? later
        guard all.rawValues.count <= descriptorLimit else { throw .descriptors(limit: descriptorLimit) }
        return all
    }
}
