internal import CLinux
internal import Glibc
internal import SystemPackage

/// An eventfd(2): a 64-bit counter in the kernel that a device, KVM or a process adds to and a reader takes.
///
/// Always non-blocking and close-on-exec. VFIO and KVM hold the counter, not this descriptor; but when the last
/// descriptor of it closes, KVM's irqfd and VFIO's unmask eventfd detach themselves, so keep it as long as it is wired.
public final class EventFD: Sendable {
    private let descriptor: OwnedDescriptor

    /// Creates a counter of 0.
    public init() throws(KernelError) {
        descriptor = OwnedDescriptor(
            adopting: try checked("eventfd") { eventfd(0, CLINUX_EFD_FLAGS) })
    }

    /// Takes over an eventfd that was received from somebody else. Throws EINVAL if it is not one.
    public init(adopting received: consuming OwnedDescriptor) throws(KernelError) {
        guard EventFD.isEventFD(received.rawValue) else {
            throw KernelError("eventfd", on: "received descriptor is no eventfd", .invalidArgument)
        }
        try received.setNonBlocking(true)
        descriptor = received
    }

    /// The number, valid as long as this object is referenced.
    public var rawValue: CInt { descriptor.rawValue }

    /// Adds 1. EAGAIN (the counter is at its maximum) counts as done: the reader has an event to see either way.
    public func signal() throws(KernelError) {
        var one: UInt64 = 1
        let raw = rawValue
        do {
            // SAFETY: the kernel reads exactly the eight bytes of `one`, which outlives the call.
            _ = try checked("write", on: "eventfd") { unsafe write(raw, &one, 8) }
        } catch {
            if error.errno != .resourceTemporarilyUnavailable { throw error }
        }
    }

    /// Takes the whole count and leaves 0. Returns 0 if nothing was pending.
    @discardableResult
    public func drain() -> UInt64 {
        var count: UInt64 = 0
        // SAFETY: the kernel writes exactly eight bytes into `count`, or none.
        let result = unsafe read(rawValue, &count, 8)
        return result == 8 ? count : 0
    }

    /// Waits until the count is above 0, and takes it.
    public func wait() {
        while drain() == 0 {
            var entry = pollfd(fd: rawValue, events: Int16(POLLIN), revents: 0)
            // SAFETY: one entry, alive for the call. A signal ends the call early, and the loop begins it again.
            _ = unsafe poll(&entry, 1, -1)
        }
    }

    /// A second descriptor of the same counter.
    public func duplicate() throws(KernelError) -> OwnedDescriptor {
        try descriptor.duplicate()
    }

    /// Whether the count is above 0, without taking it.
    public var isSignalled: Bool {
        var entry = pollfd(fd: rawValue, events: Int16(POLLIN), revents: 0)
        // SAFETY: one entry, alive for the call, which does not wait.
        return unsafe poll(&entry, 1, 0) == 1 && entry.revents & Int16(POLLIN) != 0
    }

    /// Whether a descriptor, of whatever kind, is an eventfd.
    public static func isEventFD(_ raw: CInt) -> Bool {
        // procfs is the one place that tells an eventfd from other anonymous inodes.
        let link = try? readSymbolicLink("/proc/self/fd/\(raw)")
        return link == "anon_inode:[eventfd]"
    }
}
