internal import CLinux
public import LinuxSystem
internal import SystemPackage

/// One virtual CPU. Its calls belong to one thread at a time; the kernel makes others wait.
public final class KVMVCPU: Sendable {
    let descriptor: OwnedDescriptor
    private let runArea: MappedMemory
    // Keeps the guest's memory mapped for as long as the CPU can run.
    let machine: KVMVirtualMachine

    init(
        machine: KVMVirtualMachine, adopting descriptor: consuming OwnedDescriptor, runAreaLength: Int
    ) throws(KernelError) {
        let area = try machine.kernel.map(descriptor.rawValue, at: 0, length: runAreaLength)
        self.descriptor = descriptor
        runArea = area
        self.machine = machine
    }

    /// Says what the CPU is (KVM_SET_CPUID2). Before it first runs.
    public func setCPUID(_ entries: [CPUIDEntry]) throws(KernelError) {
        var words = CPUIDEntry.table(entries)
        _ = try machine.kernel.ioctl(descriptor.rawValue, CLINUX_KVM_SET_CPUID2, "KVM_SET_CPUID2", buffer: &words)
    }

    /// Sets segments and registers for a start in real mode, and the base and mode of the local APIC (KVM_GET_SREGS,
    /// KVM_SET_SREGS, KVM_SET_REGS).
    public func setRealMode(_ state: RealModeState) throws(KernelError) {
        let (kernel, raw) = (machine.kernel, descriptor.rawValue)
        var special = kvm_sregs()
        _ = try kernel.ioctl(raw, CLINUX_KVM_GET_SREGS, "KVM_GET_SREGS", &special)
        special.apic_base = state.localAPICBase
        KVMVCPU.point(&special.cs, to: state.codeSegment)
        KVMVCPU.point(&special.ds, to: state.dataSegment)
        KVMVCPU.point(&special.es, to: state.extraSegment)
        KVMVCPU.point(&special.ss, to: state.stackSegment)
        _ = try kernel.ioctl(raw, CLINUX_KVM_SET_SREGS, "KVM_SET_SREGS", &special)
        var registers = kvm_regs()
        registers.rip = UInt64(state.instructionPointer)
        registers.rsp = UInt64(state.stackPointer)
        // Bit 1 of the flags is always 1; interrupts are off.
        registers.rflags = 2
        _ = try kernel.ioctl(raw, CLINUX_KVM_SET_REGS, "KVM_SET_REGS", &registers)
    }

    /// Writes a model-specific register (KVM_SET_MSRS). Throws EINVAL if the kernel does not take it.
    public func setMSR(_ index: UInt32, to value: UInt64) throws(KernelError) {
        // struct kvm_msrs as words: the number of entries, then index and value.
        var words: [UInt64] = [1, UInt64(index), value]
        let count = try machine.kernel.ioctl(
            descriptor.rawValue, CLINUX_KVM_SET_MSRS, "KVM_SET_MSRS", buffer: &words)
        guard count == 1 else {
            throw KernelError("KVM_SET_MSRS", on: "0x" + String(index, radix: 16), .invalidArgument)
        }
    }

    /// Lets a CPU other than the first run without the start-up message it would wait for (KVM_SET_MP_STATE).
    public func setRunnable() throws(KernelError) {
        var state = kvm_mp_state(mp_state: UInt32(KVM_MP_STATE_RUNNABLE))
        _ = try machine.kernel.ioctl(descriptor.rawValue, CLINUX_KVM_SET_MP_STATE, "KVM_SET_MP_STATE", &state)
    }

    /// Runs the guest on this thread until it needs something from us (KVM_RUN). With in-kernel interrupt controllers
    /// that excludes a halted CPU, which waits in the kernel for its next interrupt.
    public func run() throws(KernelError) -> KVMExit {
        _ = try machine.kernel.ioctl(descriptor.rawValue, CLINUX_KVM_RUN, "KVM_RUN")
        return KVMExit(runArea)
    }

    private static func point(_ segment: inout kvm_segment, to selector: UInt16) {
        segment.selector = selector
        segment.base = UInt64(selector) << 4
    }
}
