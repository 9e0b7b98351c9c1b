internal import SystemPackage

/// Bytes that wait to be sent on a stream socket, and the descriptors that go with them.
///
/// What an answer costs does not depend on how much waits, and what was sent is not kept.
public struct OutgoingBytes: Sendable {
    private struct Part {
        var bytes: [UInt8]
        var descriptors: [SharedDescriptor]
        var sent = 0
    }

    // A part is kept until all of it is sent, so it must not grow as long as a peer always leaves some of it.
    private static let partSize = 1 << 16

    private var parts: [Part] = []
    /// How many of the parts are sent.
    private var done = 0
    /// How many bytes wait.
    public private(set) var count = 0

    /// How many bytes are kept for it.
    var kept: Int { parts.reduce(0) { $0 + $1.bytes.count } }

    /// Creates one in which nothing waits.
    public init() {}

    /// Puts bytes behind those that wait. The descriptors, at most ``UnixSocket/maximumDescriptors``, go with the first of
    /// them; without a byte there is nothing that they could go with.
    public mutating func add(_ bytes: [UInt8], _ descriptors: [SharedDescriptor] = []) {
        if bytes.isEmpty { return }
        count += bytes.count
        if descriptors.isEmpty, done < parts.count, parts[parts.count - 1].bytes.count < OutgoingBytes.partSize {
            parts[parts.count - 1].bytes += bytes
        } else {
            parts.append(Part(bytes: bytes, descriptors: descriptors))
        }
    }

    /// Sends what a non-blocking socket takes now, at most `limit` bytes a call of the kernel. Throws what sendmsg(2)
    /// does, but EAGAIN, which says that the rest has to wait.
    public mutating func send(on socket: borrowing UnixSocket, limit: Int) throws(KernelError) {
        while let (bytes, descriptors) = next(limit) {
            do throws(KernelError) {
                defer { withExtendedLifetime(descriptors) {} }
                sent(try socket.send(bytes, descriptors: descriptors.map(\.rawValue)))
            } catch {
                if error.errno == .resourceTemporarilyUnavailable { return }
                throw error
            }
        }
    }

    private func next(_ limit: Int) -> (bytes: [UInt8], descriptors: [SharedDescriptor])? {
        guard parts.indices.contains(done) else { return nil }
        let part = parts[done]
        return (Array(part.bytes[part.sent...].prefix(limit)), part.descriptors)
    }

    /// The first `number` bytes of what was next are sent. The descriptors went with the first of them.
    private mutating func sent(_ number: Int) {
        guard number > 0 else { return }
        count -= number
        parts[done].sent += number
        parts[done].descriptors = []
        guard parts[done].sent >= parts[done].bytes.count else { return }
        parts[done].bytes = []
        done += 1
        // Those in front go together, so that each costs the same however many there are.
        if done * 2 >= parts.count {
            parts.removeFirst(done)
            done = 0
        }
    }
}
