internal import CLinux
internal import LinuxSystem

/// Why KVM_RUN came back (exit_reason of struct kvm_run).
public enum KVMExit: Hashable, Sendable {
    /// The guest wrote to an I/O port that the kernel does not serve.
    case portWrite(UInt16)
    /// The guest read or wrote where it has no memory; the guest-physical address.
    case memoryAccess(UInt64)
    /// The guest halted, where the kernel does not keep halted CPUs.
    case halted
    /// The guest's CPU reset itself, as after a triple fault.
    case shutdown
    /// The host's CPU refused to enter the guest; its reason.
    case entryFailed(UInt64)
    /// KVM met an instruction or state that it cannot handle; its suberror.
    case internalError(UInt32)
    /// Another KVM_EXIT_* value.
    case other(UInt32)

    init(_ runArea: borrowing MappedMemory) {
        // Offsets of struct kvm_run, checked in clinux.h: the reason at 8, what belongs to it from 32 on.
        let reason = runArea.load32(at: 8) ?? UInt32(KVM_EXIT_UNKNOWN)
        let first = runArea.load32(at: 32) ?? 0
        switch Int32(bitPattern: reason) {
        case KVM_EXIT_IO where first & 0xff == UInt32(KVM_EXIT_IO_OUT):
            // direction and size are a byte each, then comes the port.
            self = .portWrite(UInt16(truncatingIfNeeded: first >> 16))
        case KVM_EXIT_MMIO: self = .memoryAccess(UInt64(first) | UInt64(runArea.load32(at: 36) ?? 0) << 32)
        case KVM_EXIT_HLT: self = .halted
        case KVM_EXIT_SHUTDOWN: self = .shutdown
        case KVM_EXIT_FAIL_ENTRY: self = .entryFailed(UInt64(first) | UInt64(runArea.load32(at: 36) ?? 0) << 32)
        case KVM_EXIT_INTERNAL_ERROR: self = .internalError(first)
        default: self = .other(reason)
        }
    }
}
