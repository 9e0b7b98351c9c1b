import LinuxSystem
import TestSupport
import Testing

@Suite("Descriptors, eventfds and shared memory")
struct DescriptorTests {
    @Test("the owner's end closes a descriptor, and a duplicate is another number of the same file")
    func ownership() throws {
        let (first, second) = try UnixSocket.pair(.stream).take { (SharedDescriptor($0), SharedDescriptor($1)) }
        var copy: SharedDescriptor? = SharedDescriptor(try first.duplicate())
        #expect(copy?.rawValue != first.rawValue)
        #expect(try copy.map { try FileIdentity(of: $0.rawValue) } == FileIdentity(of: first.rawValue))
        copy = nil
        let reader = UnixSocket(adopting: try second.duplicate())
        _ = try UnixSocket(adopting: first.duplicate()).send([1])
        let message = try reader.receive()
        let bytes = message.bytes
        #expect(bytes == [1])
    }

    @Test("an eventfd counts, and draining takes the whole count")
    func eventCount() throws {
        let event = try EventFD()
        #expect(!event.isSignalled)
        #expect(event.drain() == 0)
        for _ in 0..<3 { try event.signal() }
        #expect(event.isSignalled)
        #expect(event.drain() == 3)
        #expect(!event.isSignalled)
        let other = try EventFD(adopting: event.duplicate())
        try other.signal()
        #expect(event.drain() == 1)
    }

    @Test("what is no eventfd is refused as one")
    func notAnEventFD() throws {
        let pair = try UnixSocket.pair(.stream).take { (SharedDescriptor($0), SharedDescriptor($1)) }
        let error = #expect(throws: KernelError.self) { _ = try EventFD(adopting: pair.0.duplicate()) }
        #expect(error?.errno.name == "EINVAL")
    }

    @Test("shared memory is seen by both mappings, and accesses outside it are refused")
    func sharedMemory() throws {
        let memory = try SharedMemory(name: "test", length: 4096)
        let other = try SharedMemory(received: memory.descriptor.duplicate(), length: 4096)
        // Expectations cannot look into what cannot be copied.
        func load(_ offset: Int) -> UInt32? { memory.memory.load32(at: offset) }
        func store(_ bytes: [UInt8], _ offset: Int) -> Bool { memory.memory.store(bytes, at: offset) }
        other.memory.store32(0x0102_0304, at: 8)
        other.memory.store([9, 8, 7], at: 4093)
        #expect(load(8) == 0x0102_0304)
        #expect(load(4092) == 0x0708_0900)
        for offset in [-4, 1, 4094, 4096, Int.max, Int.min] {
            let isStored = memory.memory.store32(1, at: offset)
            #expect(load(offset) == nil && !isStored)
        }
        #expect(!store([1, 2], 4095))
    }

    @Test("received memory that is too small, or that its owner could shrink, is refused")
    func unsafeMemory() throws {
        let memory = try SharedMemory(name: "test", length: 4096)
        let small = #expect(throws: KernelError.self) {
            _ = try SharedMemory(received: memory.descriptor.duplicate(), length: 8192)
        }
        #expect(small?.errno.name == "EINVAL")
        let directory = try TemporaryDirectory()
        try replaceFile(directory.file("f"), with: [UInt8](repeating: 0, count: 4096))
        #expect(throws: KernelError.self) {
            _ = try SharedMemory(received: openFile(directory.file("f"), .readWrite), length: 4096)
        }
    }
}
