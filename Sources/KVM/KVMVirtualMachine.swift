internal import CLinux
public import LinuxSystem

/// One virtual machine. The kernel refuses every call below with EIO in a process that does not share the address space
/// of the one that made it.
public final class KVMVirtualMachine: Sendable {
    let kernel: any Kernel
    private let descriptor: OwnedDescriptor
    private let runAreaLength: Int
    // The guest writes this memory as long as there is a virtual CPU, so it is not unmapped before the machine goes.
    private let memory = Lock<[UInt32: KVMMemory]>([:])

    init(kernel: any Kernel, adopting descriptor: consuming OwnedDescriptor, runAreaLength: Int) {
        self.kernel = kernel
        self.descriptor = descriptor
        self.runAreaLength = runAreaLength
    }

    /// Takes over a descriptor of a machine that this process made by other means, to join interrupts to it. Virtual
    /// CPUs cannot be made through it.
    public convenience init(kernel: any Kernel, adopting descriptor: consuming OwnedDescriptor) {
        self.init(kernel: kernel, adopting: descriptor, runAreaLength: 0)
    }

    /// Makes the local APICs, the IOAPIC and the two PICs (KVM_CREATE_IRQCHIP). Before any virtual CPU; EEXIST after it
    /// was done.
    public func createInterruptControllers() throws(KernelError) {
        _ = try kernel.ioctl(descriptor.rawValue, CLINUX_KVM_CREATE_IRQCHIP, "KVM_CREATE_IRQCHIP")
    }

    /// Gives the guest memory, in place of what that slot was before (KVM_SET_USER_MEMORY_REGION). Throws EEXIST if it
    /// overlaps another slot.
    public func setMemory(slot: UInt32, _ area: KVMMemory) throws(KernelError) {
        var region = kvm_userspace_memory_region(
            slot: slot, flags: 0, guest_phys_addr: area.guestAddress, memory_size: UInt64(area.shared.memory.count),
            userspace_addr: area.shared.memory.address)
        _ = try kernel.ioctl(
            descriptor.rawValue, CLINUX_KVM_SET_USER_MEMORY_REGION, "KVM_SET_USER_MEMORY_REGION", &region)
        memory.withLock { $0[slot] = area }
    }

    /// Makes a virtual CPU whose number is also its local APIC id (KVM_CREATE_VCPU). Throws EEXIST for one that exists.
    public func createVCPU(_ id: Int) throws(KernelError) -> KVMVCPU {
        let vcpu = OwnedDescriptor(
            adopting: try kernel.ioctl(
                descriptor.rawValue, CLINUX_KVM_CREATE_VCPU, "KVM_CREATE_VCPU", value: UInt(bitPattern: id)))
        return try KVMVCPU(machine: self, adopting: vcpu, runAreaLength: runAreaLength)
    }

    /// Replaces the whole routing table in one step (KVM_SET_GSI_ROUTING). On any error the old table stays, because the
    /// kernel puts a new one in its place only when it is complete, and nothing fails after that (kvm_set_irq_routing,
    /// virt/kvm/irqchip.c). Throws EINVAL for more than 4,096 routes or a number above 4,095, for a message that shares
    /// its number, and for a virtual machine without interrupt controllers.
    ///
    /// `table` is handed to the kernel as it is, and not changed.
    public func setRouting(_ table: inout KVMRoutingTable) throws(KernelError) {
        _ = try kernel.ioctl(
            descriptor.rawValue, CLINUX_KVM_SET_GSI_ROUTING, "KVM_SET_GSI_ROUTING", buffer: &table.words)
    }

    /// The same for a table that is made for this once.
    public func setRouting(_ routes: [KVMRoute]) throws(KernelError) {
        var table = KVMRoutingTable(routes)
        try setRouting(&table)
    }

    /// Lets an eventfd raise `gsi` (KVM_IRQFD). With `resample` the interrupt is a level that stays asserted until the
    /// guest's EOI, which signals that eventfd. Throws EBUSY if the eventfd has an irqfd, EBADF if it is closed, EINVAL
    /// if it is no eventfd or the machine has no interrupt controllers. A `gsi` without route is no error: its events
    /// are lost.
    public func assignIRQFD(_ eventfd: CInt, gsi: UInt32, resample: CInt? = nil) throws(KernelError) {
        var irqfd = kvm_irqfd()
        irqfd.fd = UInt32(bitPattern: eventfd)
        irqfd.gsi = gsi
        if let resample {
            irqfd.flags = UInt32(KVM_IRQFD_FLAG_RESAMPLE)
            irqfd.resamplefd = UInt32(bitPattern: resample)
        }
        _ = try kernel.ioctl(descriptor.rawValue, CLINUX_KVM_IRQFD, "KVM_IRQFD", &irqfd)
    }

    /// Ends that (KVM_IRQFD with KVM_IRQFD_FLAG_DEASSIGN), with resample or without. All injections under way are done
    /// when it returns. An eventfd that has no irqfd on `gsi` is no error.
    public func deassignIRQFD(_ eventfd: CInt, gsi: UInt32) throws(KernelError) {
        var irqfd = kvm_irqfd()
        irqfd.fd = UInt32(bitPattern: eventfd)
        irqfd.gsi = gsi
        irqfd.flags = UInt32(KVM_IRQFD_FLAG_DEASSIGN)
        _ = try kernel.ioctl(descriptor.rawValue, CLINUX_KVM_IRQFD, "KVM_IRQFD", &irqfd)
    }

    /// Sends one message to the local APICs, without any route (KVM_SIGNAL_MSI). Returns whether it was delivered;
    /// false means that the guest blocks it.
    public func signalMessage(address: UInt64, data: UInt32) throws(KernelError) -> Bool {
        var message = kvm_msi()
        message.address_lo = UInt32(truncatingIfNeeded: address)
        message.address_hi = UInt32(truncatingIfNeeded: address >> 32)
        message.data = data
        return try kernel.ioctl(descriptor.rawValue, CLINUX_KVM_SIGNAL_MSI, "KVM_SIGNAL_MSI", &message) > 0
    }

    /// Sets what the IOAPIC does with a pin, 0 to 23 (KVM_GET_IRQCHIP, KVM_SET_IRQCHIP). Not to be used while a virtual
    /// CPU runs: an edge in between would be lost.
    public func setRedirection(pin: Int, _ entry: IOAPICRedirection) throws(KernelError) {
        var state = IOAPICRedirection.requestWords
        _ = try kernel.ioctl(descriptor.rawValue, CLINUX_KVM_GET_IRQCHIP, "KVM_GET_IRQCHIP", buffer: &state)
        try entry.store(in: &state, pin: pin)
        _ = try kernel.ioctl(descriptor.rawValue, CLINUX_KVM_SET_IRQCHIP, "KVM_SET_IRQCHIP", buffer: &state)
    }

    /// Gives local APIC ids 32 bits: from then on bits 31 to 8 of an id are bits 63 to 40 of a message's address, whose
    /// bits 39 to 32 must be 0 (KVM_CAP_X2APIC_API).
    public func enableWideAPICIDs() throws(KernelError) {
        var capability = kvm_enable_cap()
        capability.cap = UInt32(KVM_CAP_X2APIC_API)
        capability.args.0 = UInt64(KVM_X2APIC_API_USE_32BIT_IDS | KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK)
        _ = try kernel.ioctl(descriptor.rawValue, CLINUX_KVM_ENABLE_CAP, "KVM_ENABLE_CAP", &capability)
    }
}
