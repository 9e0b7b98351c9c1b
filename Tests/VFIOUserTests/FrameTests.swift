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

    @Test("However a stream is cut, the messages are the same", arguments: 1...70)
    func cuts(size: Int) throws {
        var reader = VFIOUserFrameReader(messageLimit: 64)
        let stream = three.flatMap(encoded)
        var found: [VFIOUserMessage] = []
        for start in stride(from: 0, to: stream.count, by: size) {
            found += try reader.feed(Array(stream[start..<min(start + size, stream.count)]))
        }
        #expect(found.map(encoded) == three.map(encoded))
        #expect(reader.isBetweenMessages)
    }

    @Test("What is no message ends the stream, and nothing before it is lost")
    func violations() throws {
        let short = VFIOUserHeader(.deviceReset, messageID: 1, messageSize: 15)
        let long = VFIOUserHeader(.regionWrite, messageID: 1, messageSize: 65)
        let most = VFIOUserHeader(.regionWrite, messageID: 1, messageSize: .max)
        for (header, violation) in [
            (short, VFIOUserViolation.tooShort(15)), (long, .tooLong(65, limit: 64)),
            (most, .tooLong(.max, limit: 64)),
        ] {
            var reader = VFIOUserFrameReader(messageLimit: 64)
            #expect(try reader.feed(encoded(three[1])).count == 1)
            // Nothing waits for the rest of what will not be taken.
            #expect(throws: violation) { try reader.feed(header.bytes) }
        }
    }

    @Test("Descriptors belong to the message that their read ends in or ends with") func descriptors() throws {
        let eventfd = try EventFD()
        func came() throws -> ReceivedDescriptors? { try Client.received([eventfd.rawValue]) }
        let stream = three.map(encoded)
        var reader = VFIOUserFrameReader(messageLimit: 64)
        // All at once: the last one's.
        #expect(try reader.feed(stream[0] + stream[1], came()).map { $0.descriptors?.rawValues.count } == [nil, 1])
        // Its head only: its.
        #expect(try reader.feed(stream[1] + stream[2].prefix(16), came()).map { $0.descriptors == nil } == [true])
        #expect(!reader.isBetweenMessages)
        #expect(
            try reader.feed(Array(stream[2].dropFirst(16)) + stream[1]).map { $0.descriptors?.rawValues.count } == [
                1, nil,
            ])
        // In two parts: both.
        #expect(try reader.feed(Array(stream[2].prefix(8)), came()).isEmpty)
        #expect(try reader.feed(Array(stream[2].dropFirst(8)), came()).map { $0.descriptors?.rawValues.count } == [2])
        #expect(reader.isBetweenMessages)
    }

    @Test("More descriptors than a message may have are refused, also in parts") func tooMany() throws {
        let eventfd = try EventFD()
        var reader = VFIOUserFrameReader(messageLimit: 64, descriptorLimit: 3)
        let two = try Client.received([eventfd.rawValue, eventfd.rawValue])
        let half = Array(encoded(three[2]).prefix(8))
        #expect(try reader.feed(half, two).isEmpty)
        #expect(throws: VFIOUserViolation.descriptors(limit: 3)) { try reader.feed(half, two) }
    }
}
