internal import CLinux
internal import Glibc
internal import SystemPackage

/// A process that we started, and its pidfd.
///
/// It gets descriptors 0 (/dev/null), 1 and 2 as ours, and the chosen ones from 3 on; no other, no environment but the
/// given one, and no blocked or ignored signal.
public final class ChildProcess: Sendable {
    /// How a process ended.
    public enum Exit: Hashable, Sendable {
        /// By itself, with this status, 0 to 255.
        case status(Int)
        /// By this signal.
        case signal(Int)
    }

    /// The process id; ours until the process was waited for.
    public let processID: Int32
    private let pidfd: OwnedDescriptor
    private let ended = Lock<Exit?>(nil)

    /// Starts `executable`, an absolute path, with `arguments` after its name. `descriptors`, at most 16, become 3, 4,
    /// and so on; they stay open here. Throws the errno of posix_spawn(3), such as ENOENT.
    public init(
        executable: String, arguments: [String], environment: [String] = [], descriptors: [CInt] = []
    ) throws(KernelError) {
        let argumentVector = CStrings([executable] + arguments)
        let environmentVector = CStrings(environment)
        var pid: pid_t = 0
        // SAFETY: the vectors end in NULL and live, as the descriptors' array does, until the call returns.
        let error = withExtendedLifetime((argumentVector, environmentVector)) {
            unsafe clinux_spawn(
                &pid, executable, argumentVector.pointers, environmentVector.pointers, descriptors,
                CInt(clamping: descriptors.count))
        }
        guard error == 0 else { throw KernelError("posix_spawn", on: executable, Errno(rawValue: error)) }
        do throws(KernelError) {
            let child = pid
            pidfd = OwnedDescriptor(adopting: try checked("pidfd_open") { clinux_pidfd_open(child) })
        } catch {
            _ = Glibc.kill(pid, SIGKILL)
            _ = waitpid(pid, nil, 0)
            throw error
        }
        processID = pid
    }

    /// Ends a process that nobody waited for, and leaves no zombie: one that is still on its way out, which may take as
    /// long as it sleeps in the kernel, is waited for by a thread of its own.
    deinit {
        guard ended.withLock({ $0 }) == nil else { return }
        let child = processID
        _ = Glibc.kill(child, SIGKILL)
        guard waitpid(child, nil, WNOHANG) == 0 else { return }
        // At the limit of threads the zombie stays; its number is then not given to another.
        _ = try? startDetachedThread(name: "reaper") {
            while waitpid(child, nil, 0) < 0, errno == EINTR {}
        }
    }

    /// The pidfd's number, readable once the process has ended; valid as long as this object is referenced.
    public var descriptor: CInt { pidfd.rawValue }

    /// Blocks until the process has ended, or for `milliseconds` if given. Nil if it still runs.
    public func wait(milliseconds: Int? = nil) throws(KernelError) -> Exit? {
        let limit = milliseconds.map { UInt64(clamping: $0).multipliedReportingOverflow(by: 1_000_000) }
        let end = limit.map { monotonicNanoseconds().addingReportingOverflow($0.overflow ? .max : $0.partialValue) }
        while true {
            if let exit = try reap() { return exit }
            var timeout: CInt = -1
            if let end, !end.overflow {
                let now = monotonicNanoseconds()
                if now >= end.partialValue { return nil }
                timeout = CInt(clamping: (end.partialValue - now) / 1_000_000 + 1)
            }
            var entry = pollfd(fd: pidfd.rawValue, events: Int16(POLLIN), revents: 0)
            // SAFETY: one entry, alive for the call. Whatever ends the call, the loop looks again.
            _ = unsafe poll(&entry, 1, timeout)
        }
    }

    /// Sends SIGKILL. No error if the process has ended.
    public func kill() {
        // The lock keeps the process from being reaped, and its number from being given to another, meanwhile.
        ended.withLock { exit in
            if exit == nil { _ = Glibc.kill(processID, SIGKILL) }
        }
    }

    private func reap() throws(KernelError) -> Exit? {
        let result: Result<Exit?, KernelError> = ended.withLock { exit in
            if exit != nil { return .success(exit) }
            do throws(KernelError) {
                var status: CInt = 0
                // SAFETY: the kernel writes one status.
                let pid = try checked("waitpid") { unsafe waitpid(processID, &status, WNOHANG) }
                guard pid != 0 else { return .success(nil) }
                let code = Int(clinux_exit_status(status))
                exit = code < 0 ? .signal(-code) : .status(code)
                return .success(exit)
            } catch {
                return .failure(error)
            }
        }
        return try result.get()
    }
}

/// Strings as C wants them for exec: a vector of pointers that ends in NULL.
@safe private final class CStrings {
    let pointers: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>
    private let count: Int

    init(_ strings: [String]) {
        count = strings.count
        // SAFETY: every one of the count + 1 places is initialized here and freed in deinit.
        unsafe pointers = .allocate(capacity: strings.count + 1)
        for (index, string) in strings.enumerated() { unsafe (pointers + index).initialize(to: strdup(string)) }
        unsafe (pointers + strings.count).initialize(to: nil)
    }

    deinit {
        for index in 0..<count { unsafe free(pointers[index]) }
        unsafe pointers.deallocate()
    }
}
