import SystemPackage
import Testing

@testable import LinuxSystem

@Suite("Bytes that wait to be sent") struct OutgoingBytesTests {
    /// Two ends of a connection, the first of which does not block.
    private func connected() throws -> (sender: SharedDescriptor, receiver: SharedDescriptor) {
        let ends = try UnixSocket.pair(.stream).take { (SharedDescriptor($0), SharedDescriptor($1)) }
        let sender = try ends.0.duplicate()
        try sender.setNonBlocking(true)
        return (SharedDescriptor(sender), ends.1)
    }

    private func socket(_ end: SharedDescriptor) throws -> UnixSocket { UnixSocket(adopting: try end.duplicate()) }

    @Test("Each message's descriptor comes with its first byte, however the bytes are cut", arguments: [1, 5, 1 << 20])
    func descriptors(limit: Int) throws {
        let ends = try connected()
        let sender = try socket(ends.sender)
        let receiver = try socket(ends.receiver)
        let eventfd = try EventFD()
        func handed() throws -> SharedDescriptor { SharedDescriptor(try eventfd.duplicate()) }
        var outgoing = OutgoingBytes()
        outgoing.add([1, 2, 3])
        outgoing.add([4, 5, 6], [try handed()])
        outgoing.add([7])
        outgoing.add([8, 9], [try handed(), try handed()])
        outgoing.add([], [try handed()])
        #expect(outgoing.count == 9)
        try outgoing.send(on: sender, limit: limit)
        #expect(outgoing.count == 0 && outgoing.kept == 0)
        var came: [UInt8: Int] = [:]
        var bytes: [UInt8] = []
        while bytes.count < 9 {
            let message = try receiver.receive(limit: 1)
            bytes += message.bytes
            if !message.descriptors.isEmpty { came[try #require(message.bytes.first)] = message.descriptors.count }
        }
        #expect(bytes == Array(1...9))
        #expect(came == [4: 1, 8: 2])
    }

    @Test("A peer that always leaves something unread makes nothing be kept but what waits") func bounded() throws {
        let ends = try connected()
        let sender = try socket(ends.sender)
        let receiver = try socket(ends.receiver)
        var outgoing = OutgoingBytes()
        var (next, expected) = (UInt8(0), UInt8(0))
        let size = 1 << 17
        // More than the socket takes at once.
        while outgoing.count < size * 4 {
            outgoing.add([UInt8](repeating: next, count: size))
            next &+= 1
            try outgoing.send(on: sender, limit: size)
        }
        for _ in 0..<300 {
            var left = size
            while left > 0 {
                let bytes = try receiver.receive(limit: left).bytes
                #expect(bytes.allSatisfy { $0 == expected })
                left -= bytes.count
                try outgoing.send(on: sender, limit: size)
            }
            expected &+= 1
            outgoing.add([UInt8](repeating: next, count: size))
            next &+= 1
            #expect(outgoing.count > 0 && outgoing.kept <= outgoing.count + size)
        }
    }

    @Test("A connection that is gone is an error, and one that is full is none") func broken() throws {
        let ends = try connected()
        let sender = try socket(ends.sender)
        var outgoing = OutgoingBytes()
        outgoing.add([UInt8](repeating: 1, count: 8 << 20))
        try outgoing.send(on: sender, limit: 1 << 20)
        #expect(outgoing.count > 0)
        let gone = try UnixSocket.pair(.stream).take { first, _ in UnixSocket(adopting: first) }
        #expect(throws: KernelError.self) { try outgoing.send(on: gone, limit: 1 << 20) }
    }
}
