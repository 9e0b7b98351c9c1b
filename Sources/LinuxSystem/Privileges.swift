internal import CLinux
internal import Glibc
internal import SystemPackage

/// Gives up, for good, every right of this process but those of an ordinary user: groups, user, capabilities, the way
/// back to them through programs with more rights, and being looked into by others of that user. To be called before
/// there is a second thread.
public func dropPrivileges(user: UInt32, group: UInt32) throws(KernelError) {
    var step: UnsafePointer<CChar>?
    // SAFETY: the shim stores a pointer to a string literal.
    guard unsafe clinux_drop_privileges(user, group, &step) == 0 else {
        let error = Errno.current
        throw KernelError(unsafe step.map { unsafe String(cString: $0) } ?? "drop privileges", error)
    }
}

/// Lets this process have as many descriptors as it may ask for itself (RLIMIT_NOFILE, soft up to hard).
public func raiseDescriptorLimit() throws(KernelError) {
    var limit = rlimit()
    // SAFETY: the kernel fills and reads `limit`, alive for both calls.
    _ = try checked("getrlimit") { unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) }
    limit.rlim_cur = limit.rlim_max
    _ = try checked("setrlimit") { unsafe setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) }
}
