internal import CLinux
internal import Glibc

/// The seam to the kernel's device nodes: VFIO and KVM are reached through it and through nothing else.
///
/// It exists twice: ``LiveKernel``, and a fake in TestSupport that keeps the kernel's rules. Eventfds are always real.
/// Every call takes a descriptor's number, which the caller's owner keeps open for the duration of the call.
public protocol Kernel: Sendable {
    /// Opens a device node (open(2)), close-on-exec.
    func open(_ path: String, _ mode: OpenMode) throws(KernelError) -> OwnedDescriptor

    /// An ioctl(2) whose argument is a number or absent. `name` is the request's name, for errors. Returns the result,
    /// which is 0 or positive.
    func ioctl(_ descriptor: CInt, _ request: UInt, _ name: StaticString, value: UInt) throws(KernelError) -> CInt

    /// An ioctl(2) whose argument is a structure, read and written in place.
    func ioctl(
        _ descriptor: CInt, _ request: UInt, _ name: StaticString, bytes: UnsafeMutableRawBufferPointer
    ) throws(KernelError) -> CInt

    /// pread(2). Returns the number of bytes read.
    func read(
        _ descriptor: CInt, at offset: UInt64, into bytes: UnsafeMutableRawBufferPointer
    ) throws(KernelError) -> Int

    /// pwrite(2). Returns the number of bytes written.
    func write(
        _ descriptor: CInt, at offset: UInt64, from bytes: UnsafeRawBufferPointer
    ) throws(KernelError) -> Int

    /// mmap(2) of `length` bytes at `offset`, shared, readable and writable.
    func map(_ descriptor: CInt, at offset: UInt64, length: Int) throws(KernelError) -> MappedMemory
}

// Inlinable: some of these requests come by the thousand, and generic code of another module costs as much as a short one.
extension Kernel {
    /// An ioctl(2) whose argument is one fixed structure.
    @inlinable @inline(__always)
    public func ioctl<Argument: BitwiseCopyable>(
        _ descriptor: CInt, _ request: UInt, _ name: StaticString, _ argument: inout Argument
    ) throws(KernelError) -> CInt {
        // SAFETY: the bytes are the argument's own, alive and exclusive for the call.
        try unsafe withUnsafeMutableBytes(of: &argument) { bytes throws(KernelError) in
            try unsafe ioctl(descriptor, request, name, bytes: bytes)
        }
    }

    /// An ioctl(2) whose argument is a structure with a variable tail, built as bytes or words by the caller.
    @inlinable @inline(__always)
    public func ioctl<Element: BitwiseCopyable>(
        _ descriptor: CInt, _ request: UInt, _ name: StaticString, buffer: inout [Element]
    ) throws(KernelError) -> CInt {
        // SAFETY: the bytes are the array's own, alive and exclusive for the call.
        try unsafe buffer.withUnsafeMutableBufferPointer { elements throws(KernelError) in
            try unsafe ioctl(descriptor, request, name, bytes: UnsafeMutableRawBufferPointer(elements))
        }
    }

    /// An ioctl(2) without argument.
    public func ioctl(_ descriptor: CInt, _ request: UInt, _ name: StaticString) throws(KernelError) -> CInt {
        try ioctl(descriptor, request, name, value: 0)
    }
}

/// The kernel this process runs on.
public struct LiveKernel: Kernel {
    /// Creates the seam to the running kernel.
    public init() {}

    /// open(2).
    public func open(_ path: String, _ mode: OpenMode) throws(KernelError) -> OwnedDescriptor {
        try openFile(path, mode)
    }

    /// ioctl(2) with a number.
    public func ioctl(
        _ descriptor: CInt, _ request: UInt, _ name: StaticString, value: UInt
    ) throws(KernelError) -> CInt {
        try checked("\(name)") { clinux_ioctl_value(descriptor, request, value) }
    }

    /// ioctl(2) with a structure.
    public func ioctl(
        _ descriptor: CInt, _ request: UInt, _ name: StaticString, bytes: UnsafeMutableRawBufferPointer
    ) throws(KernelError) -> CInt {
        // SAFETY: the caller sized the buffer for the request; each wrapper names its structure.
        try checked("\(name)") { unsafe clinux_ioctl_pointer(descriptor, request, bytes.baseAddress) }
    }

    /// pread(2).
    public func read(
        _ descriptor: CInt, at offset: UInt64, into bytes: UnsafeMutableRawBufferPointer
    ) throws(KernelError) -> Int {
        // SAFETY: the kernel writes at most the buffer's own size.
        try checked("pread") { unsafe pread(descriptor, bytes.baseAddress, bytes.count, off_t(bitPattern: offset)) }
    }

    /// pwrite(2).
    public func write(
        _ descriptor: CInt, at offset: UInt64, from bytes: UnsafeRawBufferPointer
    ) throws(KernelError) -> Int {
        // SAFETY: the kernel reads at most the buffer's own size.
        try checked("pwrite") { unsafe pwrite(descriptor, bytes.baseAddress, bytes.count, off_t(bitPattern: offset)) }
    }

    /// mmap(2).
    public func map(_ descriptor: CInt, at offset: UInt64, length: Int) throws(KernelError) -> MappedMemory {
        try MappedMemory(mapping: descriptor, at: offset, length: length)
    }
}

extension off_t {
    fileprivate init(bitPattern offset: UInt64) { self = off_t(truncatingIfNeeded: offset) }
}
