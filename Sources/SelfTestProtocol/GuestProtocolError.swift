public import LinuxSystem

/// Why a message between vfiod and the self-test guest could not be sent, received or understood.
public enum GuestProtocolError: Error, Hashable, Sendable {
    /// The other side has closed its end, for the guest: it has died.
    case closed
    /// Nothing came in time.
    case timedOut
    /// The packet or its descriptors did not fit and were cut off.
    case truncated
    /// The packet is not exactly what our encoder writes for a message of the expected kind; why.
    case malformed(String)
    /// A message came that does not answer what was asked.
    case unexpected(GuestReply)
    /// The guest could not do what it was asked to, and says why.
    case failed(GuestFailure)
    /// The message would be larger than a packet may be.
    case tooLarge(bytes: Int, limit: Int)
    /// The kernel refused a call on the socket.
    case kernel(KernelError)
}
