public import LinuxSystem
public import SystemPackage

/// The files of a host, which counts how often it is asked, and lets a file keep its readers waiting.
public final class FakeFiles: FileReading {
    private struct State {
        var opens: [String] = []
        var gates: [String: EventFD] = [:]
        var waiting: [String: Int] = [:]
        var failures: [String: Errno] = [:]
    }

    private let files = LiveFiles()
    private let state = Lock(State())

    /// Creates it over the files of this machine.
    public init() {}

    /// What was opened, listed, looked for or resolved since the last ``forgetOpens()``, in order.
    public var opens: [String] { state.withLock { $0.opens } }

    /// Empties the list of ``opens``.
    public func forgetOpens() {
        state.withLock { $0.opens = [] }
    }

    /// From now on readers of `path` wait until ``release(_:)``.
    public func hold(_ path: String) throws(KernelError) {
        let gate = try EventFD()
        state.withLock { $0.gates[path] = gate }
    }

    /// Lets the readers of `path` go on; each call one of those that wait, and all who come later.
    public func release(_ path: String) throws(KernelError) {
        let gate = state.withLock { $0.gates.removeValue(forKey: path) }
        try gate?.signal()
    }

    /// How many readers of `path` wait.
    public func waiting(for path: String) -> Int { state.withLock { $0.waiting[path] ?? 0 } }

    /// From now on, or no more, what is at `path` cannot be read.
    public func failReads(of path: String, with error: Errno?) {
        state.withLock { $0.failures[path] = error }
    }

    /// A whole file.
    public func readFile(_ path: String, limit: Int) throws(KernelError) -> [UInt8] {
        if let gate = enter(path) {
            state.withLock { $0.waiting[path, default: 0] += 1 }
            gate.wait()
            state.withLock { $0.waiting[path, default: 0] -= 1 }
        }
        try checkFailure(path)
        return try files.readFile(path, limit: limit)
    }

    /// A link's target.
    public func readSymbolicLink(_ path: String) throws(KernelError) -> String {
        _ = enter(path)
        try checkFailure(path)
        return try files.readSymbolicLink(path)
    }

    /// A directory's names.
    public func listDirectory(_ path: String) throws(KernelError) -> [String] {
        _ = enter(path)
        return try files.listDirectory(path)
    }

    /// Whether there is something.
    public func pathExists(_ path: String) -> Bool {
        _ = enter(path)
        return files.pathExists(path)
    }

    private func checkFailure(_ path: String) throws(KernelError) {
        if let error = state.withLock({ $0.failures[path] }) { throw KernelError("read", on: path, error) }
    }

    private func enter(_ path: String) -> EventFD? {
        state.withLock { state in
            state.opens.append(path)
            return state.gates[path]
        }
    }
}
