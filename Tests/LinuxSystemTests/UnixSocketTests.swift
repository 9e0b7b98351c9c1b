import Glibc
import LinuxSystem
import TestSupport
import Testing

@Suite("Unix sockets")
struct UnixSocketTests {
    private func pair(_ kind: UnixSocket.Kind) throws -> (SharedDescriptor, SharedDescriptor) {
        try UnixSocket.pair(kind).take { (SharedDescriptor($0), SharedDescriptor($1)) }
    }

    /// Expectations cannot look into what cannot be copied.
    private func receive(_ socket: borrowing UnixSocket) throws -> [UInt8] {
        let message = try socket.receive()
        return message.bytes
    }

    @Test("descriptors arrive in order, close-on-exec, and refer to the same files")
    func descriptors() throws {
        let (left, right) = try pair(.packets)
        let sender = UnixSocket(adopting: try left.duplicate())
        let receiver = UnixSocket(adopting: try right.duplicate())
        let events = try (0..<UnixSocket.maximumDescriptors).map { _ in try EventFD() }
        #expect(try sender.send([1, 2, 3], descriptors: events.map(\.rawValue)) == 3)
        let message = try receiver.receive()
        let (bytes, received, isTruncated) = (message.bytes, message.descriptors, message.isTruncated)
        #expect(bytes == [1, 2, 3])
        #expect(!isTruncated)
        try #require(received.count == events.count)
        for index in [0, 100, events.count - 1] {
            try EventFD(adopting: received[index].duplicate()).signal()
            #expect(events[index].drain() == 1)
        }
    }

    @Test("more descriptors than a message can carry are refused before any goes")
    func tooManyDescriptors() throws {
        let (left, right) = try pair(.packets)
        let sender = UnixSocket(adopting: try left.duplicate())
        let event = try EventFD()
        let many = [CInt](repeating: event.rawValue, count: UnixSocket.maximumDescriptors + 1)
        let error = #expect(throws: KernelError.self) { _ = try sender.send([1], descriptors: many) }
        #expect(error?.errno.name == "EINVAL")
        withExtendedLifetime(right) {}
    }

    @Test("a packet that is longer than the receiver's limit is marked as cut")
    func truncation() throws {
        let (left, right) = try pair(.packets)
        let sender = UnixSocket(adopting: try left.duplicate())
        let receiver = UnixSocket(adopting: try right.duplicate())
        #expect(try sender.send([UInt8](repeating: 5, count: 100)) == 100)
        let message = try receiver.receive(limit: 10)
        let (bytes, isTruncated) = (message.bytes, message.isTruncated)
        #expect(bytes.count == 10)
        #expect(isTruncated)
    }

    @Test("the other side's end is an empty message, and sending to it is an error, not a signal")
    func endOfStream() throws {
        let (left, right) = try pair(.stream)
        let sender = UnixSocket(adopting: try left.duplicate())
        let receiver = UnixSocket(adopting: try right.duplicate())
        try sender.shutdownWriting()
        #expect(try receive(receiver).isEmpty)
        let error = #expect(throws: KernelError.self) { _ = try sender.send([1]) }
        #expect(error?.errno.name == "EPIPE")
    }

    @Test("a listener tells its peers' credentials, and has nobody when nobody comes")
    func listener() throws {
        let directory = try TemporaryDirectory()
        let path = directory.file("s")
        let listener = try UnixListener(path: path)
        switch try listener.accept() {
        case .none: break
        case .some: Issue.record("a connection from nowhere")
        }
        let client = try UnixSocket(connectingTo: path)
        guard let server = try listener.accept() else {
            Issue.record("no connection")
            return
        }
        let credentials = (try server.peerCredentials(), try client.peerCredentials())
        #expect(credentials.0 == credentials.1)
        #expect(throws: KernelError.self) { _ = try server.receive() }
        #expect(try client.send([4]) == 1)
        #expect(try receive(server) == [4])
    }

    @Test("a listener's file is only its own user's, and takes the place of no file that is not a socket")
    func ownFile() throws {
        let directory = try TemporaryDirectory()
        do { _ = try UnixListener(path: directory.file("s")) }
        var status = stat()
        #expect(lstat(directory.file("s"), &status) == 0)
        #expect(status.st_mode == S_IFSOCK | 0o600)
        try replaceFile(directory.file("f"), with: [1])
        let error = #expect(throws: KernelError.self) { _ = try UnixListener(path: directory.file("f")) }
        #expect(error?.errno.name == "EEXIST")
        #expect(try readFile(directory.file("f")) == [1])
    }

    @Test("a path that is too long, missing or left by a process that is gone has its own errno")
    func addresses() throws {
        let directory = try TemporaryDirectory()
        func errno(_ path: String) -> String? {
            #expect(throws: KernelError.self) { _ = try UnixSocket(connectingTo: path) }?.errno.name
        }
        #expect(errno("/" + String(repeating: "x", count: 107)) == "ENAMETOOLONG")
        #expect(errno("") == "ENAMETOOLONG")
        #expect(errno(directory.file("none")) == "ENOENT")
        do { _ = try UnixListener(path: directory.file("dead")) }
        #expect(errno(directory.file("dead")) == "ECONNREFUSED")
        let again = try UnixListener(path: directory.file("dead"))
        _ = try UnixSocket(connectingTo: directory.file("dead"))
        withExtendedLifetime(again) {}
    }

    @Test("waiting for bytes ends with them, or at the deadline without")
    func waiting() throws {
        let (left, right) = try pair(.stream)
        let sender = UnixSocket(adopting: try left.duplicate())
        let receiver = UnixSocket(adopting: try right.duplicate())
        let isReadable = try receiver.waitReadable(until: 0)
        #expect(!isReadable)
        #expect(try sender.send([1]) == 1)
        let hasBytes = try receiver.waitReadable(until: .max)
        #expect(hasBytes)
    }
}
