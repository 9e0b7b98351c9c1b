import LinuxSystem

/// The running kernel, and a count of the requests that went to it.
struct CountedKernel: Kernel {
    private final class Counts: Sendable {
        let byName = Lock<[String: Int]>([:])
        let routes = Lock(0)
    }

    private let live = LiveKernel()
    private let counts = Counts()

    /// How often a request was made.
    func count(_ name: String) -> Int { counts.byName.withLock { $0[name, default: 0] } }

    /// How many routes the last table had that the kernel took.
    var routes: Int { counts.routes.withLock { $0 } }

    func open(_ path: String, _ mode: OpenMode) throws(KernelError) -> OwnedDescriptor { try live.open(path, mode) }

    func ioctl(_ descriptor: CInt, _ request: UInt, _ name: StaticString, value: UInt) throws(KernelError) -> CInt {
        note(name)
        return try live.ioctl(descriptor, request, name, value: value)
    }

    func ioctl(
        _ descriptor: CInt, _ request: UInt, _ name: StaticString, bytes: UnsafeMutableRawBufferPointer
    ) throws(KernelError) -> CInt {
        note(name)
        let result = try live.ioctl(descriptor, request, name, bytes: bytes)
        // struct kvm_irq_routing begins with the number of its entries.
        if "\(name)" == "KVM_SET_GSI_ROUTING" {
            let number = Int(bytes.loadUnaligned(as: UInt32.self))
            counts.routes.withLock { $0 = number }
        }
        return result
    }

    func read(
        _ descriptor: CInt, at offset: UInt64, into bytes: UnsafeMutableRawBufferPointer
    ) throws(KernelError) -> Int { try live.read(descriptor, at: offset, into: bytes) }

    func write(
        _ descriptor: CInt, at offset: UInt64, from bytes: UnsafeRawBufferPointer
    ) throws(KernelError) -> Int { try live.write(descriptor, at: offset, from: bytes) }

    func map(_ descriptor: CInt, at offset: UInt64, length: Int) throws(KernelError) -> MappedMemory {
        try live.map(descriptor, at: offset, length: length)
    }

    private func note(_ name: StaticString) {
        counts.byName.withLock { $0["\(name)", default: 0] += 1 }
    }
}
