public import InterruptSources
public import LinuxSystem
public import PCI
internal import SystemPackage

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

extension LeaseError {
    /// What to do about a kernel call that failed at this step of a session.
    public static func hint(_ error: KernelError, _ step: String) -> String {
        switch (step, error.errno) {
        case (LeaseSession.openingStep, _): error.vfioOpenHint
        case (_, .noMemory):
            "the limit of locked memory of vfiod's unit (LimitMEMLOCK=), or the host's memory, is reached"
        case (_, .badAddress): "the memory has no pages there: make it as large as it is to be, and keep it so"
        default: "the kernel log may say more"
        }
    }
}
