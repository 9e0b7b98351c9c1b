import LinuxSystem

/// A kernel that does nothing and calls it done.
final class AgreeableKernel: Kernel {
    /// How often each request was made.
    let names = Lock<[String: Int]>([:])

    func open(_ path: String, _ mode: OpenMode) throws(KernelError) -> OwnedDescriptor {
        try openFile("/dev/null", .readWrite)
    }

    func ioctl(
        _ descriptor: CInt, _ request: UInt, _ name: StaticString, value: UInt
    ) throws(KernelError) -> CInt {
        names.withLock { $0["\(name)", default: 0] += 1 }
        return 0
    }

    func ioctl(
        _ descriptor: CInt, _ request: UInt, _ name: StaticString, bytes: UnsafeMutableRawBufferPointer
    ) throws(KernelError) -> CInt {
        try ioctl(descriptor, request, name, value: 0)
    }

    func read(
        _ descriptor: CInt, at offset: UInt64, into bytes: UnsafeMutableRawBufferPointer
    ) throws(KernelError) -> Int { 0 }

    func write(
        _ descriptor: CInt, at offset: UInt64, from bytes: UnsafeRawBufferPointer
    ) throws(KernelError) -> Int { bytes.count }

    func map(_ descriptor: CInt, at offset: UInt64, length: Int) throws(KernelError) -> MappedMemory {
        try MappedMemory(mapping: descriptor, at: offset, length: length)
    }
}
