/// Why the bytes of a connection are no sequence of messages.
public enum FrameViolation: Hashable, Sendable, CustomStringConvertible {
    /// A message is longer than `limit` bytes.
    case tooLong(limit: Int)
    /// Objects and arrays nest deeper than `limit`.
    case tooDeep(limit: Int)
    /// The other side stopped sending inside a message.
    case unfinished
    /// Descriptors came along, and no more than `limit` may come with a message.
    case descriptors(limit: Int)

    /// One clause for people.
    public var description: String {
        switch self {
        case .tooLong(let limit): "the message is longer than \(limit) bytes"
        case .tooDeep(let limit): "the message nests deeper than \(limit) levels"
        case .unfinished: "the connection ended inside a message"
        case .descriptors(0): "descriptors came with the message, and no call takes any"
        case .descriptors(let limit): "more than \(limit) descriptors came with a message"
        }
    }
}

/// Cuts a stream of bytes into messages, without any I/O.
///
/// A message ends with a NUL byte; white space around it does not belong to it. For people at a shell, the first message of a connection may end with a newline
/// instead: at depth 0, outside a string, not followed by NUL. The connection then speaks lines. Messages of nothing
/// but white space are left out. After a violation nothing more is reported, but the end of the bad message is still
/// looked for.
public struct FrameReader: Sendable {
    /// How messages end.
    public enum Framing: Sendable {
        /// No message has ended yet.
        case undecided
        /// With a NUL byte.
        case nul
        /// With a newline.
        case lines
    }

    /// What was cut out.
    public enum Frame: Hashable, Sendable {
        /// A message without its end mark.
        case message([UInt8])
        /// The stream is broken here.
        case violation(FrameViolation)
    }

    /// How messages of this connection end.
    public private(set) var framing: Framing
    /// Whether no byte of an unended message was seen, so that nothing is cut by closing now.
    public private(set) var isBetweenMessages = true

    private let limit: Int
    private let depthLimit: Int
    private var message: [UInt8] = []
    private var depth = 0
    private var isInString = false
    private var isEscaped = false
    private var isViolated = false
    /// A newline ended the first message; the next byte says whether a NUL belongs to it.
    private var newlineDecided = false

    /// Creates a reader for messages of at most `limit` bytes that nest at most `depthLimit` deep.
    public init(framing: Framing = .undecided, limit: Int = 1 << 20, depthLimit: Int = 64) {
        self.framing = framing
        self.limit = limit
        self.depthLimit = depthLimit
    }

    /// The byte that ends a reply on this connection.
    public var endMark: UInt8 { framing == .lines ? 0x0a : 0 }

    /// Takes the next bytes and returns what they complete, in order.
    public mutating func feed(_ bytes: [UInt8]) -> [Frame] {
        var frames: [Frame] = []
        for (index, byte) in bytes.enumerated() {
            if newlineDecided {
                newlineDecided = false
                // The NUL came in a later read than the newline before it.
                if byte == 0 {
                    framing = .nul
                    continue
                }
            }
            let next = index + 1 < bytes.count ? bytes[index + 1] : nil
            if endsMessage(byte, next: next) {
                if let frame = takeMessage() { frames.append(frame) }
            } else if let violation = take(byte) {
                frames.append(.violation(violation))
            }
        }
        return frames
    }

    /// Says that no more bytes come. A whole object that only lacks its end mark is still a message where no NUL has
    /// been used, because no longer message begins with it.
    public mutating func finish() -> Frame? {
        guard !isBetweenMessages, !isViolated else { return nil }
        if framing != .nul && depth == 0 && !isInString && message.last == UInt8(ascii: "}") {
            framing = .lines
            return takeMessage()
        }
        isViolated = true
        return .violation(.unfinished)
    }

    private mutating func endsMessage(_ byte: UInt8, next: UInt8?) -> Bool {
        switch (byte, framing) {
        case (0, .nul): return true
        case (0, .undecided):
            // An empty message decides as well: only programs send NUL.
            framing = .nul
            return true
        case (0x0a, .lines): return depth == 0 && !isInString
        case (0x0a, .undecided):
            guard depth == 0, !isInString, !isBetweenMessages, next != 0 else { return false }
            framing = .lines
            newlineDecided = next == nil
            return true
        default: return false
        }
    }

    private mutating func takeMessage() -> Frame? {
        defer {
            message = []
            depth = 0
            isInString = false
            isEscaped = false
            isBetweenMessages = true
        }
        if isBetweenMessages || isViolated { return nil }
        while let last = message.last, FrameReader.isBlank(last) { message.removeLast() }
        return .message(message)
    }

    private mutating func take(_ byte: UInt8) -> FrameViolation? {
        // White space between messages is not kept, so that no amount of it is too long.
        if isBetweenMessages && FrameReader.isBlank(byte) { return nil }
        isBetweenMessages = false
        if isEscaped {
            isEscaped = false
        } else if isInString {
            isEscaped = byte == UInt8(ascii: "\\")
            isInString = byte != UInt8(ascii: "\"")
        } else {
            switch byte {
            case UInt8(ascii: "\""): isInString = true
            case UInt8(ascii: "{"), UInt8(ascii: "["): depth &+= 1
            case UInt8(ascii: "}"), UInt8(ascii: "]"): depth = max(0, depth &- 1)
            default: break
            }
        }
        if isViolated { return nil }
        guard message.count < limit else { return violate(.tooLong(limit: limit)) }
        guard depth <= depthLimit else { return violate(.tooDeep(limit: depthLimit)) }
        message.append(byte)
        return nil
    }

    private static func isBlank(_ byte: UInt8) -> Bool {
        byte == 0x20 || byte == 0x09 || byte == 0x0a || byte == 0x0d
    }

    private mutating func violate(_ violation: FrameViolation) -> FrameViolation {
        isViolated = true
        message = []
        return violation
    }
}
