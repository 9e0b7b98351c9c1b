internal import LinuxSystem

/// The calls that several fakes were asked for, in one order, and which of them is to fail.
public final class ScriptedCalls: Sendable {
    private let state = Lock((names: [String](), failing: Int?.none, isRepeated: false))

    /// No calls yet, and none to fail.
    public init() {}

    /// The calls so far.
    public var names: [String] { state.withLock { $0.names } }

    /// Forgets the calls and lets the one with this index from now on fail, with `always` also those after it; nil for
    /// none.
    public func restart(failing index: Int? = nil, always: Bool = false) {
        state.withLock { $0 = ([], index, always) }
    }

    /// Notes a call. Returns whether it is to fail.
    public func shouldFail(_ name: String) -> Bool {
        state.withLock { state in
            let index = state.names.count
            state.names.append(name)
            guard let failing = state.failing else { return false }
            return state.isRepeated ? index >= failing : index == failing
        }
    }
}
