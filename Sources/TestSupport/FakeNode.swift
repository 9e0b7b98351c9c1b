public import LinuxSystem
internal import SystemPackage

/// A device node of the fake kernel: what open(2) of a path below its prefix leads to.
public protocol FakeNode: Sendable {
    /// Opens `path`. Throws the errno that the kernel would give.
    func open(_ path: String, _ mode: OpenMode) throws(KernelError) -> any FakeFile
}

/// One open file of the fake kernel, with the state of the kernel object behind it. All descriptors of it, however
/// duplicated, lead here. Calls come from any thread; `kernel` is the one that was called.
///
/// Everything has a default: ENOTTY for an ioctl, EINVAL for reading, writing and mapping.
public protocol FakeFile: AnyObject, Sendable {
    /// An ioctl(2) whose argument is a number or absent.
    func ioctl(_ request: UInt, value: UInt, kernel: FakeKernel) throws(KernelError) -> CInt

    /// An ioctl(2) whose argument is a structure. What is left in `bytes` is written back, also after an error.
    func ioctl(_ request: UInt, bytes: inout [UInt8], kernel: FakeKernel) throws(KernelError) -> CInt

    /// pread(2) of at most `count` bytes.
    func read(at offset: UInt64, count: Int, kernel: FakeKernel) throws(KernelError) -> [UInt8]

    /// pwrite(2).
    func write(_ bytes: [UInt8], at offset: UInt64, kernel: FakeKernel) throws(KernelError) -> Int

    /// mmap(2).
    func map(at offset: UInt64, length: Int, kernel: FakeKernel) throws(KernelError) -> MappedMemory

    /// The last descriptor was closed. Comes before the next call that the kernel is asked for.
    func released(kernel: FakeKernel)
}

extension FakeFile {
    /// ENOTTY.
    public func ioctl(_ request: UInt, value: UInt, kernel: FakeKernel) throws(KernelError) -> CInt {
        throw KernelError("ioctl", .inappropriateIOCTLForDevice)
    }

    /// ENOTTY.
    public func ioctl(_ request: UInt, bytes: inout [UInt8], kernel: FakeKernel) throws(KernelError) -> CInt {
        throw KernelError("ioctl", .inappropriateIOCTLForDevice)
    }

    /// EINVAL.
    public func read(at offset: UInt64, count: Int, kernel: FakeKernel) throws(KernelError) -> [UInt8] {
        throw KernelError("pread", .invalidArgument)
    }

    /// EINVAL.
    public func write(_ bytes: [UInt8], at offset: UInt64, kernel: FakeKernel) throws(KernelError) -> Int {
        throw KernelError("pwrite", .invalidArgument)
    }

    /// EINVAL.
    public func map(at offset: UInt64, length: Int, kernel: FakeKernel) throws(KernelError) -> MappedMemory {
        throw KernelError("mmap", .invalidArgument)
    }

    /// Nothing to do.
    public func released(kernel: FakeKernel) {}
}
