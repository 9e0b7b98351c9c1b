internal import CLinux
internal import Glibc
public import SystemPackage

/// A system call that the kernel refused: which call, on what, and with which errno.
///
/// This is the one error of the kernel seam. Upper layers add the device, the step and the remedy; none may drop the
/// errno.
public struct KernelError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The call or request as the kernel's documentation names it, such as `VFIO_DEVICE_SET_IRQS` or `open`.
    public let call: String
    /// What it was applied to, such as a path; empty where the call says it all.
    public let subject: String
    /// The error number.
    public let errno: Errno

    /// Creates an error of `call` on `subject`.
    public init(_ call: String, on subject: String = "", _ errno: Errno) {
        self.call = call
        self.subject = subject
        self.errno = errno
    }

    /// For example `open /dev/kvm: EACCES (Permission denied)`.
    public var description: String {
        let target = subject.isEmpty ? "" : " \(subject)"
        return "\(call)\(target): \(errno.name) (\(errno))"
    }
}

extension Errno {
    /// The symbolic name, such as `EBUSY` (strerrorname_np(3)); `errno N` for a number without one.
    public var name: String {
        // SAFETY: strerrorname_np returns a static, NUL-terminated string or NULL.
        guard let name = unsafe clinux_errno_name(rawValue) else { return "errno \(rawValue)" }
        return unsafe String(cString: name)
    }

    /// The calling thread's errno, to be read directly after a failed call.
    static var current: Errno { Errno(rawValue: Glibc.errno) }
}

/// Runs a system call that reports failure by a negative result, again while a signal interrupts it. The names are only
/// made for an error: most calls succeed, and some come by the thousand.
func checked<Result: SignedInteger>(
    _ call: @autoclosure () -> String, on subject: @autoclosure () -> String = "", _ body: () -> Result
) throws(KernelError) -> Result {
    while true {
        let result = body()
        if result >= 0 { return result }
        let error = Errno.current
        if error != .interrupted { throw KernelError(call(), on: subject(), error) }
    }
}
