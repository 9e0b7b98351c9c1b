internal import LinuxSystem

/// Replies that wait to be sent, each with its descriptors, which go with its first byte.
struct OutgoingReplies {
    private struct Part {
        var bytes: [UInt8]
        var descriptors: [SharedDescriptor]
        var sent = 0
    }

    private var parts: [Part] = []
    /// How many bytes wait.
    private(set) var count = 0

    mutating func add(_ bytes: [UInt8], _ descriptors: [SharedDescriptor]) {
        count += bytes.count
        if descriptors.isEmpty, let last = parts.indices.last {
            parts[last].bytes += bytes
        } else {
            parts.append(Part(bytes: bytes, descriptors: descriptors))
        }
    }

    /// What is to be sent next, at most `limit` bytes, and the descriptors with it.
    func next(_ limit: Int) -> (bytes: [UInt8], descriptors: [SharedDescriptor]) {
        guard let part = parts.first else { return ([], []) }
        return (Array(part.bytes[part.sent...].prefix(limit)), part.descriptors)
    }

    /// The first `number` bytes of that are sent. The descriptors went with the first of them.
    mutating func sent(_ number: Int) {
        guard let part = parts.first, number > 0 else { return }
        count -= number
        if part.sent + number >= part.bytes.count {
            parts.removeFirst()
        } else {
            parts[0].sent += number
            parts[0].descriptors = []
        }
    }
}
