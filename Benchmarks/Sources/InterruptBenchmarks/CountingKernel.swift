internal import LinuxSystem
internal import Synchronization

/// The running kernel, with a count of what is asked of it.
final class CountingKernel: Kernel {
    private let kernel = LiveKernel()
    private let counted = Atomic<Int>(0)

    /// How many requests there were.
    var requests: Int { counted.load(ordering: .relaxed) }

    func open(_ path: String, _ mode: OpenMode) throws(KernelError) -> OwnedDescriptor {
        try kernel.open(path, mode)
    }

    func ioctl(
        _ descriptor: CInt, _ request: UInt, _ name: StaticString, value: UInt
    ) throws(KernelError) -> CInt {
        counted.wrappingAdd(1, ordering: .relaxed)
        return try kernel.ioctl(descriptor, request, name, value: value)
    }

    func ioctl(
        _ descriptor: CInt, _ request: UInt, _ name: StaticString, bytes: UnsafeMutableRawBufferPointer
    ) throws(KernelError) -> CInt {
        counted.wrappingAdd(1, ordering: .relaxed)
        return try unsafe kernel.ioctl(descriptor, request, name, bytes: bytes)
    }

    func read(
        _ descriptor: CInt, at offset: UInt64, into bytes: UnsafeMutableRawBufferPointer
    ) throws(KernelError) -> Int {
        try unsafe kernel.read(descriptor, at: offset, into: bytes)
    }

    func write(
        _ descriptor: CInt, at offset: UInt64, from bytes: UnsafeRawBufferPointer
    ) throws(KernelError) -> Int {
        try unsafe kernel.write(descriptor, at: offset, from: bytes)
    }

    func map(_ descriptor: CInt, at offset: UInt64, length: Int) throws(KernelError) -> MappedMemory {
        try kernel.map(descriptor, at: offset, length: length)
    }
}
