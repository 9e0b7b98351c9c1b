public import LinuxSystem

/// Memory of a guest, and where the guest sees it.
public final class KVMMemory: Sendable {
    /// The guest physical address, a multiple of 4,096.
    public let guestAddress: UInt64
    /// The memory in this process; its length is a multiple of 4,096.
    public let shared: SharedMemory

    /// Takes over `shared`, to be seen by a guest at `guestAddress`.
    public init(_ shared: consuming SharedMemory, at guestAddress: UInt64) {
        self.guestAddress = guestAddress
        self.shared = shared
    }
}
