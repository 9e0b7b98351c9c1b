internal import CLinux
internal import Glibc

/// A file descriptor with exactly one owner, closed when the owner goes.
public struct OwnedDescriptor: ~Copyable, Sendable {
    /// The number, valid as long as this value lives. For calls that only borrow it.
    public let rawValue: CInt

    /// Takes over `rawValue`, which must be open and owned by nobody else.
    public init(adopting rawValue: CInt) {
        self.rawValue = rawValue
    }

    deinit {
        // EBADF here means that somebody else closed our number, and that the next owner of that number is in danger.
        if close(rawValue) != 0 && errno == EBADF {
            fatalError("descriptor \(rawValue) was closed behind its owner's back")
        }
    }

    /// Gives the descriptor away without closing it.
    public consuming func release() -> CInt {
        let raw = rawValue
        discard self
        return raw
    }

    /// A second, close-on-exec descriptor of the same open file (fcntl F_DUPFD_CLOEXEC).
    public func duplicate() throws(KernelError) -> OwnedDescriptor {
        try duplicateDescriptor(rawValue)
    }

    /// Sets or clears O_NONBLOCK.
    public func setNonBlocking(_ on: Bool) throws(KernelError) {
        let raw = rawValue
        let flags = try checked("fcntl(F_GETFL)") { clinux_fcntl_int(raw, F_GETFL, 0) }
        let wanted = on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK
        _ = try checked("fcntl(F_SETFL)") { clinux_fcntl_int(raw, F_SETFL, wanted) }
    }

    /// Sets or clears close-on-exec.
    public func setCloseOnExec(_ on: Bool) throws(KernelError) {
        let raw = rawValue
        _ = try checked("fcntl(F_SETFD)") { clinux_fcntl_int(raw, F_SETFD, on ? FD_CLOEXEC : 0) }
    }
}

/// A second, close-on-exec descriptor of the open file of `raw`, which its owner keeps open for the call.
func duplicateDescriptor(_ raw: CInt) throws(KernelError) -> OwnedDescriptor {
    OwnedDescriptor(adopting: try checked("fcntl(F_DUPFD_CLOEXEC)") { clinux_fcntl_int(raw, F_DUPFD_CLOEXEC, 0) })
}

/// An owned descriptor that can stand in a collection or be shared: the last reference closes it.
public final class SharedDescriptor: Sendable {
    private let descriptor: OwnedDescriptor

    /// Takes over `descriptor`.
    public init(_ descriptor: consuming OwnedDescriptor) {
        self.descriptor = descriptor
    }

    /// The number, valid as long as this object is referenced.
    public var rawValue: CInt { descriptor.rawValue }

    /// A second descriptor of the same open file.
    public func duplicate() throws(KernelError) -> OwnedDescriptor {
        try descriptor.duplicate()
    }
}
