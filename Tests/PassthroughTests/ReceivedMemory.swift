import LinuxSystem
import TestSupport
import Testing

/// What a session's owner sends.
enum ReceivedMemory {
    /// Memory of so many pages of 4 KiB.
    static func file(pages: Int) throws -> MemoryFile {
        let shared = try SharedMemory(name: "guest", length: pages * 4096)
        return try descriptors([shared.descriptor.rawValue]).memory(at: 0)
    }

    /// Descriptors that went through a socket.
    static func descriptors(_ descriptors: [CInt]) throws -> ReceivedDescriptors {
        let (first, second) = try UnixSocket.pair(.stream).take { (SharedDescriptor($0), SharedDescriptor($1)) }
        _ = try UnixSocket(adopting: try first.duplicate()).send([0], descriptors: descriptors)
        let socket = UnixSocket(adopting: try second.duplicate())
        return try #require(try socket.receive(limit: 1, closer: DescriptorCloser()).descriptors)
    }
}
