internal import FoundationEssentials
public import LinuxSystem
internal import SystemPackage

/// One end of the packet socket between vfiod and the self-test guest: one JSON object in each packet, with the
/// descriptors that belong to it.
///
/// What is received must be byte for byte what ``encode(_:)`` writes for it: unknown members, doubled members and
/// numbers out of range are refused, not skipped.
public struct GuestChannel: ~Copyable, Sendable {
    /// The most bytes of a packet.
    public static let maximumBytes = 65536
    /// The most descriptors that come with one packet.
    public static let maximumDescriptors = UnixSocket.maximumDescriptors

    private let socket: UnixSocket

    /// Takes over a connected socket of ``UnixSocket/Kind/packets``.
    public init(_ socket: consuming UnixSocket) {
        self.socket = socket
    }

    /// A message that was received.
    public struct Received<Message>: ~Copyable {
        /// The message.
        public let message: Message
        /// The descriptors that came with it, in order.
        public let descriptors: [SharedDescriptor]
    }

    /// Sends one message with these descriptors.
    public func send<Message: Encodable>(
        _ message: Message, descriptors: [CInt] = []
    ) throws(GuestProtocolError) {
        let bytes = try GuestChannel.encode(message)
        do {
            _ = try socket.send(bytes, descriptors: descriptors)
        } catch {
            throw error.errno == .brokenPipe || error.errno == .connectionReset ? .closed : .kernel(error)
        }
    }

    /// Receives one message. With a `deadline`, a time of ``monotonicNanoseconds()``, waits no longer than until then.
    public func receive<Message: Codable>(
        _ type: Message.Type, until deadline: UInt64 = .max
    ) throws(GuestProtocolError) -> Received<Message> {
        do {
            guard try socket.waitReadable(until: deadline) else { throw GuestProtocolError.timedOut }
            // One byte more than allowed, so that a packet that is too long shows.
            let packet = try socket.receive(limit: GuestChannel.maximumBytes + 1)
            guard !packet.isTruncated, packet.bytes.count <= GuestChannel.maximumBytes else {
                throw GuestProtocolError.truncated
            }
            if packet.bytes.isEmpty { throw GuestProtocolError.closed }
            return Received(
                message: try GuestChannel.decode(type, packet.bytes), descriptors: packet.descriptors)
        } catch let error as GuestProtocolError {
            throw error
        } catch let error as KernelError {
            throw error.errno == .connectionReset ? .closed : .kernel(error)
        } catch {
            throw .malformed("\(error)")
        }
    }

    /// The packet of a message.
    public static func encode<Message: Encodable>(_ message: Message) throws(GuestProtocolError) -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        let bytes: [UInt8]
        do {
            bytes = [UInt8](try encoder.encode(message))
        } catch {
            throw .malformed("\(error)")
        }
        guard bytes.count <= maximumBytes else { throw .tooLarge(bytes: bytes.count, limit: maximumBytes) }
        return bytes
    }

    /// The message of a packet.
    public static func decode<Message: Codable>(
        _ type: Message.Type, _ bytes: [UInt8]
    ) throws(GuestProtocolError) -> Message {
        let message: Message
        do {
            message = try JSONDecoder().decode(type, from: Data(bytes))
        } catch {
            throw .malformed("\(error)")
        }
        guard try encode(message) == bytes else { throw .malformed("not as \(type) is written") }
        return message
    }
}
