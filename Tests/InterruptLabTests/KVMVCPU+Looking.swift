import CLinux
import LinuxSystem

@testable import KVM

// What a CPU that has stopped looks like.
extension KVMVCPU {
    /// The vectors that its local APIC holds for under way: the in-service register (Intel SDM volume 3, section 11.8.4;
    /// KVM_GET_LAPIC).
    func vectorsInService() throws(KernelError) -> [UInt8] {
        var page = [UInt32](repeating: 0, count: 0x400 / 4)
        _ = try machine.kernel.ioctl(descriptor.rawValue, CLINUX_KVM_GET_LAPIC, "KVM_GET_LAPIC", buffer: &page)
        // Eight registers of 32 vectors, 16 bytes apart.
        return (UInt8.min...UInt8.max).filter { vector in
            page[(0x100 + Int(vector) / 32 * 16) / 4] & 1 << UInt32(vector % 32) != 0
        }
    }

    func stackPointer() throws(KernelError) -> Int {
        var registers = kvm_regs()
        _ = try machine.kernel.ioctl(descriptor.rawValue, CLINUX_KVM_GET_REGS, "KVM_GET_REGS", &registers)
        return Int(registers.rsp & 0xffff)
    }
}
