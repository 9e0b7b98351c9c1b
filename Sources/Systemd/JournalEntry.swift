public import Logging

/// One entry in the journal's native form (systemd, docs/JOURNAL_NATIVE_PROTOCOL.md).
public struct JournalEntry: Sendable {
    /// The longest value that is sent, bytes: the whole entry has to fit into one datagram.
    static let valueLimit = 32 << 10

    /// The bytes of the datagram.
    public private(set) var bytes: [UInt8] = []

    /// Creates an entry of `message` with a priority of syslog(3).
    public init(message: String, level: Logger.Level) {
        append("MESSAGE", message)
        append("PRIORITY", String(level.priority))
    }

    /// Adds a field. `name` is made to conform: upper-case letters, digits and underscores, beginning with a letter, at
    /// most 64 bytes; one with no letter is left out. A longer value is cut.
    public mutating func append(_ name: String, _ value: String) {
        let field = JournalEntry.fieldName(name)
        guard !field.isEmpty else { return }
        let value = Array(value.utf8.prefix(JournalEntry.valueLimit))
        bytes += field
        if value.contains(0x0a) {
            bytes.append(0x0a)
            var count = UInt64(value.count)
            for _ in 0..<8 {
                bytes.append(UInt8(truncatingIfNeeded: count))
                count >>= 8
            }
        } else {
            bytes.append(UInt8(ascii: "="))
        }
        bytes += value
        bytes.append(0x0a)
    }

    private static func fieldName(_ name: String) -> [UInt8] {
        let mapped = name.utf8.map { (byte: UInt8) -> UInt8 in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"): byte - 32
            case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "0")...UInt8(ascii: "9"): byte
            default: UInt8(ascii: "_")
            }
        }
        return Array(mapped.drop { !(UInt8(ascii: "A")...UInt8(ascii: "Z")).contains($0) }.prefix(64))
    }
}

extension Logger.Level {
    /// The priority of syslog(3): 2 (critical) to 7 (debug).
    var priority: Int {
        switch self {
        case .trace, .debug: 7
        case .info: 6
        case .notice: 5
        case .warning: 4
        case .error: 3
        case .critical: 2
        }
    }
}
