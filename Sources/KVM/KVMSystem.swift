internal import CLinux
public import LinuxSystem
internal import SystemPackage

/// /dev/kvm: what the kernel can do, and where virtual machines come from (Documentation/virt/kvm/api.rst).
public final class KVMSystem: Sendable {
    /// A capability by its number (KVM_CAP_*, linux/kvm.h).
    public struct Capability: Sendable {
        let rawValue: CInt
        /// KVM_CAP_IRQ_ROUTING: the value is the number of entries a routing table can have.
        public static let routing = Capability(rawValue: KVM_CAP_IRQ_ROUTING)
        /// KVM_CAP_IRQFD.
        public static let irqfd = Capability(rawValue: KVM_CAP_IRQFD)
        /// KVM_CAP_IRQFD_RESAMPLE.
        public static let irqfdResample = Capability(rawValue: KVM_CAP_IRQFD_RESAMPLE)
    }

    private let kernel: any Kernel
    private let descriptor: OwnedDescriptor

    /// Opens /dev/kvm. Throws ENOENT where the module is not loaded, EACCES without permission.
    public convenience init(kernel: any Kernel) throws(KernelError) {
        try self.init(kernel: kernel, adopting: try kernel.open("/dev/kvm", .readWrite))
    }

    /// Takes over an open /dev/kvm. Throws ENOTTY if it is something else, ENOTSUP if its interface is not version 12,
    /// the only one there ever was since it became stable.
    public init(kernel: any Kernel, adopting descriptor: consuming OwnedDescriptor) throws(KernelError) {
        let version = try kernel.ioctl(
            descriptor.rawValue, CLINUX_KVM_GET_API_VERSION, "KVM_GET_API_VERSION")
        guard version == KVM_API_VERSION else {
            throw KernelError("KVM_GET_API_VERSION", on: "\(version)", .notSupported)
        }
        self.kernel = kernel
        self.descriptor = descriptor
    }

    /// The value of a capability, 0 where the kernel lacks it (KVM_CHECK_EXTENSION).
    public func check(_ capability: Capability) throws(KernelError) -> Int {
        Int(
            try kernel.ioctl(
                descriptor.rawValue, CLINUX_KVM_CHECK_EXTENSION, "KVM_CHECK_EXTENSION",
                value: UInt(UInt32(bitPattern: capability.rawValue))))
    }

    /// What a virtual CPU can be told to be (KVM_GET_SUPPORTED_CPUID).
    public func supportedCPUID() throws(KernelError) -> [CPUIDEntry] {
        var words = CPUIDEntry.emptyTable
        _ = try kernel.ioctl(
            descriptor.rawValue, CLINUX_KVM_GET_SUPPORTED_CPUID, "KVM_GET_SUPPORTED_CPUID", buffer: &words)
        return CPUIDEntry.entries(in: words)
    }

    /// A new, empty virtual machine (KVM_CREATE_VM), usable from this process only.
    public func createVirtualMachine() throws(KernelError) -> KVMVirtualMachine {
        let size = try kernel.ioctl(
            descriptor.rawValue, CLINUX_KVM_GET_VCPU_MMAP_SIZE, "KVM_GET_VCPU_MMAP_SIZE")
        let machine = try kernel.ioctl(descriptor.rawValue, CLINUX_KVM_CREATE_VM, "KVM_CREATE_VM")
        return KVMVirtualMachine(
            kernel: kernel, adopting: OwnedDescriptor(adopting: machine), runAreaLength: Int(size))
    }
}
