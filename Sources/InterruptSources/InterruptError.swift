public import LinuxSystem

/// Why a call on an interrupt source, sink or group did not do what it was asked to. Nothing was changed, unless the
/// call says otherwise.
public enum InterruptError: Error, Hashable, Sendable {
    /// The index is not below the group's count.
    case noSuchVector(index: Int, count: Int)
    /// A count that the type cannot have.
    case invalidCount(InterruptType, Int)
    /// As many configurations are needed as the group has vectors, or for MSI a power of two of at most that.
    case wrongConfigurationCount(given: Int, needed: Int)
    /// A message was given to a legacy group or the other way round.
    case wrongConfigurationKind(InterruptType)
    /// The vectors of an MSI block have one address and one data value, in which only the index differs.
    case differentMessages
    /// Bytes that are no capability of this type.
    case malformedCapability(InterruptType)
    /// The group is live with other configurations.
    case alreadyEnabled
    /// The group is not live.
    case notEnabled
    /// The group was destroyed.
    case destroyed
    /// The host has fewer interrupt vectors left than asked for: of the vectors asked for, in ascending order, the first
    /// `available` could be had. Those connected before go on.
    case hostExhausted(asked: Int, available: Int)
    /// The VM has fewer interrupt numbers left than asked for.
    case numbersExhausted(asked: Int, available: Int)
    /// The number is neither reserved nor a pin, or beyond what a table can hold.
    case numberNotReserved(Int)
    /// The number has a route already that cannot be beside this one.
    case numberInUse(Int)
    /// No interrupt controller takes messages to this address.
    case addressRefused(UInt64)
    /// Another interrupt type of the device is on.
    case otherTypeActive
    /// The device has no interrupts of this type.
    case noSuchType(InterruptType)
    /// None of the types asked for could be had, for these reasons, best type first.
    case everyTypeRefused([DeviceInterrupts.Refusal])
    /// The call exists only for level-triggered sources.
    case notLevelTriggered
    /// The kernel refused.
    case kernel(KernelError)
}
