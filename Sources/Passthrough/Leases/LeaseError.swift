public import InterruptSources
public import LinuxSystem
public import PCI

/// Why a session did not begin, or did not do what it was asked to. Nothing was changed.
public enum LeaseError: Error, Sendable {
    /// No session may begin on the device now.
    case notReady(PCIAddress, state: String, message: String)
    /// The session is being ended.
    case ended(PCIAddress, SessionEndReason)
    /// A range of addresses that cannot be mapped, or unmapped.
    case badRange(DMARange.Fault)
    /// What was given to be mapped is no memory, or too small.
    case badMemory(String)
    /// The lease has as much of it as it may have.
    case limitReached(Limit)
    /// Interrupts were not wired as asked.
    case interrupts(InterruptError)
    /// The kernel refused.
    case kernel(step: String, KernelError)

    /// What a lease has only so much of.
    public enum Limit: Hashable, Sendable {
        /// Ranges of addresses.
        case mappings(Int)
        /// Bytes of memory.
        case bytes(UInt64)
    }
}

/// Why a session ends.
public enum SessionEndReason: String, Sendable, CaseIterable {
    /// Its connection is closed.
    case connectionClosed = "connection-closed"
    /// Its process has ended.
    case processEnded = "process-ended"
    /// Detach.
    case detached
    /// vfiod stops.
    case stopping
    /// The host asks for the device back: somebody unbinds its driver or removes it.
    case askedBack = "device-asked-back"
    /// The device reported an uncorrectable error.
    case deviceError = "device-error"

    /// One clause for people.
    public var clause: String {
        switch self {
        case .connectionClosed: "its connection was closed"
        case .processEnded: "its process has ended"
        case .detached: "the device was detached"
        case .stopping: "vfiod stops"
        case .askedBack: "the host asks for the device back"
        case .deviceError: "the device reported an uncorrectable error"
        }
    }
}
