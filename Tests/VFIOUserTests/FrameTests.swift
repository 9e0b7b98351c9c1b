import LinuxSystem
import TestSupport
import Testing
import VFIOUser

@Suite("vfio-user messages from a stream") struct FrameTests {
    private func encoded(_ message: VFIOUserMessage) -> [UInt8] { message.header.bytes + message.payload }

    private let three: [VFIOUserMessage] = [
        Client.message(.version, Client.version(), id: 1), Client.message(.deviceReset, id: 2),
        Client.message(.regionRead, Client.bytes(UInt64(4), UInt32(7), UInt32(4)), id: 3),
    ]

    @Test("A header is read as it is written, and says what it is") func header() throws {
        let header = VFIOUserHeader(.regionWrite, messageID: 0xabcd, messageSize: 48, wantsNoReply: true)
        #expect(
            header.bytes == [0xcd, 0xab, 10, 0, 48, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0])
        #expect(VFIOUserHeader(header.bytes) == header)
        #expect(header.isCommand && header.wantsNoReply)
        let reply = VFIOUserHeader(answering: header, messageSize: 16, errorNumber: 22)
        #expect(reply.bytes == [0xcd, 0xab, 10, 0, 16, 0, 0, 0, 0x21, 0, 0, 0, 22, 0, 0, 0])
        #expect(!reply.isCommand)
        #expect(VFIOUserHeader(Array(header.bytes.dropLast())) == nil)
    }

    /// What one read completes; fails if anything stands against what comes after that.
    private func feed(
        _ reader: inout VFIOUserFrameReader, _ bytes: [UInt8], _ came: ReceivedDescriptors? = nil
    ) -> [VFIOUserMessage] {
        let (messages, violation) = reader.feed(bytes, came)
        #expect(violation == nil)
        return messages
    }

    @Test("However a stream is cut, the messages are the same", arguments: 1...70)
    func cuts(size: Int) throws {
        var reader = VFIOUserFrameReader(messageLimit: 64)
        let stream = three.flatMap(encoded)
        var found: [VFIOUserMessage] = []
        for start in stride(from: 0, to: stream.count, by: size) {
            found += feed(&reader, Array(stream[start..<min(start + size, stream.count)]))
        }
        #expect(found.map(encoded) == three.map(encoded))
    }

    private static let bad: [(VFIOUserHeader, VFIOUserViolation)] = [
        (VFIOUserHeader(.deviceReset, messageID: 1, messageSize: 15), .tooShort(15)),
        (VFIOUserHeader(.regionWrite, messageID: 1, messageSize: 65), .tooLong(65, limit: 64)),
        (VFIOUserHeader(.regionWrite, messageID: 1, messageSize: .max), .tooLong(.max, limit: 64)),
    ]

    @Test("What is no message ends the stream, and nothing before it is lost", arguments: bad)
    func violations(header: VFIOUserHeader, violation: VFIOUserViolation) throws {
        var reader = VFIOUserFrameReader(messageLimit: 64)
        #expect(feed(&reader, encoded(three[1])).count == 1)
        // Nothing waits for the rest of what will not be taken.
        #expect(reader.feed(header.bytes).violation == violation)
        // All in one read.
        var other = VFIOUserFrameReader(messageLimit: 64)
        let (messages, found) = other.feed(three.flatMap(encoded) + header.bytes)
        #expect(messages.map(encoded) == three.map(encoded) && found == violation)
    }

    @Test("Descriptors belong to the message that their read ends in or ends with") func descriptors() throws {
        let eventfd = try EventFD()
        func came() throws -> ReceivedDescriptors? { try Client.received([eventfd.rawValue]) }
        func counts(_ messages: [VFIOUserMessage]) -> [Int?] { messages.map { $0.descriptors?.rawValues.count } }
        let stream = three.map(encoded)
        var reader = VFIOUserFrameReader(messageLimit: 64)
        // All at once: the last one's.
        #expect(counts(feed(&reader, stream[0] + stream[1], try came())) == [nil, 1])
        // Its head only: its.
        #expect(counts(feed(&reader, stream[1] + stream[2].prefix(16), try came())) == [nil])
        #expect(counts(feed(&reader, Array(stream[2].dropFirst(16)) + stream[1])) == [1, nil])
        // In two parts: both.
        #expect(feed(&reader, Array(stream[2].prefix(8)), try came()).isEmpty)
        #expect(counts(feed(&reader, Array(stream[2].dropFirst(8)), try came())) == [2])
        #expect(counts(feed(&reader, stream[0])) == [nil])
    }

    @Test("More descriptors than a message may have are refused, also in parts, and not those before") func tooMany()
        throws
    {
        let eventfd = try EventFD()
        var reader = VFIOUserFrameReader(messageLimit: 64, descriptorLimit: 3)
        let two = try Client.received([eventfd.rawValue, eventfd.rawValue])
        let half = Array(encoded(three[2]).prefix(8))
        #expect(feed(&reader, half, two).isEmpty)
        #expect(reader.feed(half, two).violation == .descriptors(limit: 3))
        var other = VFIOUserFrameReader(messageLimit: 64, descriptorLimit: 1)
        let (messages, violation) = other.feed(encoded(three[0]) + encoded(three[1]), two)
        #expect(messages.map(encoded) == [encoded(three[0])] && violation == .descriptors(limit: 1))
    }
}
