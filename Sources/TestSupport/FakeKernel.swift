internal import Glibc
public import LinuxSystem
public import SystemPackage

/// A kernel made of fake device nodes. It knows paths, descriptors and their lifetimes; the rules of VFIO and KVM are
/// the nodes'.
///
/// Descriptors are real (one end of a socket pair), so they can be duplicated and sent to other processes, and the
/// fake notices when the last one closes. It can be told to refuse a call, and lists the calls it was asked for.
public final class FakeKernel: Kernel {
    private struct Inode: Hashable {
        let device: UInt64
        let number: UInt64
    }

    private struct Opened {
        let file: any FakeFile
        // The pair's other end: it hangs up when the last descriptor of the file closes.
        let witness: SharedDescriptor
    }

    private struct Refusal {
        let name: String
        let errno: Errno
        var skip: Int
    }

    /// A refusal that a file carries out itself, because it strikes half way.
    struct Failure {
        let errno: Errno
        /// At which of the vectors that a VFIO_DEVICE_SET_IRQS gives descriptors, modulo their number.
        let vector: Int
        let event: Event?
    }

    /// A message that a device sends while a VFIO_DEVICE_SET_IRQS is half done.
    public struct Event: Sendable {
        let vector: Int
        let told: @Sendable (Int) -> Void

        /// The message of `vector`; `told` hears of the interrupt index that is on if host or device has it now.
        public init(_ vector: Int, told: @escaping @Sendable (Int) -> Void) {
            (self.vector, self.told) = (vector, told)
        }
    }

    private struct State {
        var number = 0
        var refused = 0
        var numbered: (calls: Range<Int>, errno: Errno, vector: Int?, event: Event?)?
        var hooks: [Int: @Sendable () -> Void] = [:]
        var failure: Failure?
        var nodes: [(prefix: String, node: any FakeNode)] = []
        var opened: [Inode: Opened] = [:]
        var refusals: [Refusal] = []
        var calls: [String] = []
    }

    private let state = Lock(State())

    /// A kernel without any device node: every open is ENOENT.
    public init() {}

    /// Lets paths that begin with `prefix` lead to `node`; the longest prefix wins.
    public func install(_ node: any FakeNode, at prefix: String) {
        state.withLock { $0.nodes.append((prefix, node)) }
    }

    /// Refuses one call of this name (`open`, `pread`, or an ioctl's request such as `KVM_IRQFD`) with `errno`, after
    /// letting `skip` of them pass.
    public func refuse(_ name: String, with errno: Errno, after skip: Int = 0) {
        state.withLock { $0.refusals.append(Refusal(name: name, errno: errno, skip: skip)) }
    }

    /// Refuses the calls with these numbers, counted from 0 at the last ``forgetCalls()``, with `errno`. With `vector`, a
    /// VFIO_DEVICE_SET_IRQS that gives descriptors to messages fails at that one of them, modulo their number, and so
    /// takes those before it along, as the kernel does when it runs out of something half way. `event` comes right before
    /// that, in the first of the calls.
    public func refuse(
        calls: Range<Int>, with errno: Errno, atVector vector: Int? = nil, event: Event? = nil
    ) {
        state.withLock { $0.numbered = (calls, errno, vector, event) }
    }

    /// How many calls were refused by number since the last ``forgetCalls()``.
    public var refusedCount: Int { state.withLock { $0.refused } }

    /// Runs `body` right before the call with this number, counted from 0 at the last ``forgetCalls()``: an event that
    /// comes while an operation is half done.
    public func beforeCall(_ number: Int, _ body: @escaping @Sendable () -> Void) {
        state.withLock { $0.hooks[number] = body }
    }

    /// The names of all calls since the last ``forgetCalls()``, in order, refused ones included.
    public var calls: [String] { state.withLock { $0.calls } }

    /// Empties the list of calls and forgets what was to happen at their numbers.
    public func forgetCalls() {
        state.withLock { state in
            state.calls = []
            state.number = 0
            state.refused = 0
            state.numbered = nil
            state.hooks = [:]
            state.failure = nil
        }
    }

    /// The failure that the call under way is to run into.
    func takeFailure() -> Failure? {
        state.withLock { state in
            defer { state.failure = nil }
            return state.failure
        }
    }

    /// A new descriptor that leads to `file`, for an ioctl that returns one: `descriptor(for: file).release()`.
    public func descriptor(for file: any FakeFile) throws(KernelError) -> OwnedDescriptor {
        let pair = try UnixSocket.pair(.stream)
        let theirs = try pair.first.duplicate()
        let ours = try pair.second.duplicate()
        let inode = try FakeKernel.inode(of: theirs.rawValue)
        let entry = Opened(file: file, witness: SharedDescriptor(ours))
        let stale = state.withLock { $0.opened.updateValue(entry, forKey: inode) }
        stale?.file.released(kernel: self)
        return theirs
    }

    /// The file that a descriptor leads to, as the kernel resolves one it finds in an argument. Throws EBADF if it is
    /// closed, EINVAL if it is no file of this kernel.
    public func file(of descriptor: CInt) throws(KernelError) -> any FakeFile {
        sweep()
        let inode = try FakeKernel.inode(of: descriptor)
        guard let opened = state.withLock({ $0.opened[inode] }) else {
            throw KernelError("fget", .invalidArgument)
        }
        return opened.file
    }

    /// How many files this process has open. A child that another thread has just forked holds copies of all
    /// descriptors until it executes its program; those are waited for, at most ten seconds each.
    public var openFileCount: Int {
        sweep()
        let copied = state.withLock { state in
            let ours = FakeKernel.ownFiles()
            return state.opened.filter { !ours.contains($0.key) }.map(\.value.witness)
        }
        for witness in copied { FakeKernel.hasHungUp(witness.rawValue, within: 10_000) }
        sweep()
        return state.withLock { $0.opened.count }
    }

    /// open(2).
    public func open(_ path: String, _ mode: OpenMode) throws(KernelError) -> OwnedDescriptor {
        try enter("open")
        let node = state.withLock { state in
            state.nodes.filter { path.hasPrefix($0.prefix) }.max { $0.prefix.utf8.count < $1.prefix.utf8.count }?.node
        }
        guard let node else { throw KernelError("open", on: path, .noSuchFileOrDirectory) }
        return try descriptor(for: try node.open(path, mode))
    }

    /// ioctl(2) with a number.
    public func ioctl(
        _ descriptor: CInt, _ request: UInt, _ name: StaticString, value: UInt
    ) throws(KernelError) -> CInt {
        try enter("\(name)")
        let file = try resolve(descriptor, "\(name)")
        do {
            return try file.ioctl(request, value: value, kernel: self)
        } catch {
            throw KernelError("\(name)", on: error.subject, error.errno)
        }
    }

    /// ioctl(2) with a structure.
    public func ioctl(
        _ descriptor: CInt, _ request: UInt, _ name: StaticString, bytes: UnsafeMutableRawBufferPointer
    ) throws(KernelError) -> CInt {
        try enter("\(name)")
        let file = try resolve(descriptor, "\(name)")
        // SAFETY: the caller's buffer is alive and exclusive for the call; it is copied out, and back in full.
        var copy = unsafe [UInt8](bytes)
        defer { unsafe bytes.copyBytes(from: copy.prefix(bytes.count)) }
        do {
            return try file.ioctl(request, bytes: &copy, kernel: self)
        } catch {
            throw KernelError("\(name)", on: error.subject, error.errno)
        }
    }

    /// pread(2).
    public func read(
        _ descriptor: CInt, at offset: UInt64, into bytes: UnsafeMutableRawBufferPointer
    ) throws(KernelError) -> Int {
        try enter("pread")
        let count = bytes.count
        let read = try resolve(descriptor, "pread").read(at: offset, count: count, kernel: self).prefix(count)
        // SAFETY: at most the buffer's size, cut above.
        unsafe bytes.copyBytes(from: read)
        return read.count
    }

    /// pwrite(2).
    public func write(
        _ descriptor: CInt, at offset: UInt64, from bytes: UnsafeRawBufferPointer
    ) throws(KernelError) -> Int {
        try enter("pwrite")
        // SAFETY: the caller's buffer is alive for the call; it is copied.
        return try resolve(descriptor, "pwrite").write(unsafe [UInt8](bytes), at: offset, kernel: self)
    }

    /// mmap(2).
    public func map(_ descriptor: CInt, at offset: UInt64, length: Int) throws(KernelError) -> MappedMemory {
        try enter("mmap")
        return try resolve(descriptor, "mmap").map(at: offset, length: length, kernel: self)
    }

    /// Notes the call, tells files of which the last descriptor closed, and refuses if told to.
    private func enter(_ name: String) throws(KernelError) {
        sweep()
        let hook = state.withLock { $0.hooks.removeValue(forKey: $0.number) }
        hook?()
        let refused: Errno? = state.withLock { state in
            state.calls.append(name)
            state.failure = nil
            defer { state.number += 1 }
            if let numbered = state.numbered, numbered.calls.contains(state.number) {
                state.refused += 1
                guard let vector = numbered.vector, name == "VFIO_DEVICE_SET_IRQS" else { return numbered.errno }
                state.failure = Failure(errno: numbered.errno, vector: vector, event: numbered.event)
                state.numbered?.event = nil
                return nil
            }
            guard let index = state.refusals.firstIndex(where: { $0.name == name }) else { return nil }
            if state.refusals[index].skip > 0 {
                state.refusals[index].skip -= 1
                return nil
            }
            return state.refusals.remove(at: index).errno
        }
        if let refused { throw KernelError(name, on: "told to refuse", refused) }
    }

    /// The file of a call's own descriptor: ENOTTY if it is something else.
    private func resolve(_ descriptor: CInt, _ name: String) throws(KernelError) -> any FakeFile {
        let inode = try FakeKernel.inode(of: descriptor)
        guard let opened = state.withLock({ $0.opened[inode] }) else {
            throw KernelError(name, .inappropriateIOCTLForDevice)
        }
        return opened.file
    }

    private func sweep() {
        let closed = state.withLock { state in
            let gone = state.opened.filter { FakeKernel.hasHungUp($0.value.witness.rawValue) }
            for inode in gone.keys { state.opened[inode] = nil }
            return gone.values.map(\.file)
        }
        for file in closed { file.released(kernel: self) }
    }

    @discardableResult
    private static func hasHungUp(_ descriptor: CInt, within milliseconds: CInt = 0) -> Bool {
        var entry = pollfd(fd: descriptor, events: 0, revents: 0)
        // SAFETY: one entry, alive for the call.
        return unsafe poll(&entry, 1, milliseconds) == 1 && entry.revents & Int16(POLLHUP) != 0
    }

    /// What this process's own descriptors lead to.
    private static func ownFiles() -> Set<Inode> {
        let names = (try? listDirectory("/proc/self/fd")) ?? []
        return Set(names.compactMap { name in CInt(name).flatMap { try? inode(of: $0) } })
    }

    private static func inode(of descriptor: CInt) throws(KernelError) -> Inode {
        var status = stat()
        // SAFETY: the kernel fills `status`, alive for the call.
        guard unsafe fstat(descriptor, &status) == 0 else { throw KernelError("fget", .badFileDescriptor) }
        return Inode(device: UInt64(status.st_dev), number: UInt64(status.st_ino))
    }
}
