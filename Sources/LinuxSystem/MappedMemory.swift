internal import CLinux
internal import Glibc
internal import SystemPackage

/// A shared mapping of a descriptor, unmapped when it goes. Accesses are bounds-checked and volatile in the sense that
/// each is one atomic load or store; what the other side writes between two of them is data, never a promise.
///
/// Only map what cannot shrink: memory of our own, sealed, or a kernel object. An access to a hole raises SIGBUS.
@safe public struct MappedMemory: ~Copyable, @unchecked Sendable {
    // Sendable although it holds a pointer: shared words go through atomics, and bytes are only what the other side,
    // which no lock of ours could hold back, made of them.
    private let base: UnsafeMutableRawPointer
    /// The length in bytes.
    public let count: Int

    /// Maps `length` bytes of `descriptor` at `offset`, shared, readable and if `writable` writable (mmap(2)). Memory that
    /// is not writable, or that others may shrink, is only for the kernel to find by its ``address``.
    public init(
        mapping descriptor: CInt, at offset: UInt64 = 0, length: Int, writable: Bool = true
    ) throws(KernelError) {
        let protection = writable ? PROT_READ | PROT_WRITE : PROT_READ
        // SAFETY: a new mapping at an address of the kernel's choosing touches no memory of ours.
        let address = unsafe mmap(
            nil, length, protection, MAP_SHARED, descriptor, off_t(truncatingIfNeeded: offset))
        guard let address = unsafe address, unsafe address != UnsafeMutableRawPointer(bitPattern: -1) else {
            throw KernelError("mmap", .current)
        }
        unsafe base = address
        count = length
    }

    deinit {
        // SAFETY: base and count are those of the mapping, and nobody else holds a pointer into it past its owner.
        _ = unsafe munmap(base, count)
    }

    /// The address, for requests that hand memory to the kernel such as KVM_SET_USER_MEMORY_REGION.
    public var address: UInt64 { unsafe UInt64(UInt(bitPattern: base)) }

    /// Loads the 32-bit word at byte `offset` with acquiring order; nil if it is out of range or not aligned.
    public func load32(at offset: Int) -> UInt32? {
        guard isValid(offset, size: 4) else { return nil }
        // SAFETY: in range and aligned, checked above; the word is only ever accessed atomically from this side.
        return unsafe clinux_load32(base.advanced(by: offset))
    }

    /// Stores a 32-bit word at byte `offset` with releasing order. Returns false if it is out of range or not aligned.
    @discardableResult
    public func store32(_ value: UInt32, at offset: Int) -> Bool {
        guard isValid(offset, size: 4) else { return false }
        // SAFETY: as in load32.
        unsafe clinux_store32(base.advanced(by: offset), value)
        return true
    }

    /// Copies `bytes` to byte `offset`. Returns false, and writes nothing, if they do not fit.
    @discardableResult
    public func store(_ bytes: [UInt8], at offset: Int) -> Bool {
        guard isValid(offset, size: 1), bytes.count <= count - offset else { return false }
        for (index, byte) in bytes.enumerated() {
            // SAFETY: offset + index < count by the check above.
            unsafe base.storeBytes(of: byte, toByteOffset: offset + index, as: UInt8.self)
        }
        return true
    }

    private func isValid(_ offset: Int, size: Int) -> Bool {
        offset >= 0 && offset % size == 0 && offset <= count - size
    }
}

/// Memory shared between processes by descriptor: a memfd(2) that can neither grow nor shrink, so that no holder can
/// make another's access fault.
public struct SharedMemory: ~Copyable, Sendable {
    /// The descriptor to hand to the other process.
    public let descriptor: OwnedDescriptor
    /// The mapping in this process.
    public let memory: MappedMemory

    /// Creates zeroed memory of `length` bytes, sealed against resizing.
    public init(name: String, length: Int) throws(KernelError) {
        // SAFETY: the name is a NUL-terminated copy, alive for the call.
        let file = OwnedDescriptor(
            adopting: try checked("memfd_create", on: name) { unsafe clinux_sealed_memfd(name, off_t(length)) })
        let raw = file.rawValue
        let mapping = try MappedMemory(mapping: raw, length: length)
        descriptor = file
        memory = mapping
    }

    /// Maps memory received from another process. Throws EPERM if it is not sealed against shrinking, EINVAL if it
    /// is smaller than `length`.
    public init(received file: consuming OwnedDescriptor, length: Int) throws(KernelError) {
        let raw = file.rawValue
        let sealed = try checked("fcntl(F_GET_SEALS)") { clinux_is_sealed(raw) }
        guard sealed == 1 else { throw KernelError("memfd", on: "not sealed", .notPermitted) }
        var status = stat()
        // SAFETY: the kernel fills `status`, alive for the call.
        guard unsafe fstat(raw, &status) == 0, status.st_size >= length else {
            throw KernelError("memfd", on: "too small", .invalidArgument)
        }
        let mapping = try MappedMemory(mapping: raw, length: length)
        descriptor = file
        memory = mapping
    }
}
