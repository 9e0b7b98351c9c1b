internal import CFloor
internal import InterruptSources
internal import KVM
internal import KVMInterrupts
internal import LinuxSystem
internal import SystemPackage
internal import VFIOInterrupts

/// vfiod: an interrupt source group over a source and the VM's routing table.
struct GroupSide: BenchmarkSide {
    private let kernel: CountingKernel
    private let sink: KVMInterruptSink
    // Keeps the local APIC that messages go to.
    private let processor: SharedDescriptor
    // Of the device, asked for once as a VMM does.
    private var sources: [InterruptType: any InterruptSource] = [:]
    private var group: InterruptSourceGroup?
    private var flip: UInt32 = 0

    /// Groups over a machine of their own, with a real device's interrupts or with a source that costs nothing.
    init(foreignRoutes: Int, kernel: CountingKernel, device: VFIOInterrupts?) throws {
        self.kernel = kernel
        for type in InterruptType.allCases { sources[type] = try device?.source(type) }
        let made = floor_make_machine()
        if made.processor < 0 { throw KernelError("KVM_CREATE_VM", Errno(rawValue: -made.processor)) }
        processor = SharedDescriptor(OwnedDescriptor(adopting: made.processor))
        let machine = KVMVirtualMachine(kernel: kernel, adopting: OwnedDescriptor(adopting: made.machine))
        let foreign = (0..<foreignRoutes).map { index in
            KVMRoute(
                gsi: UInt32(KVMRoute.maximumCount - 1 - index),
                .message(address: 0xfee0_0000, data: 200, deviceID: nil))
        }
        try machine.setRouting(KVMRoute.defaults + foreign)
        sink = KVMInterruptSink(machine, keeping: KVMRoute.defaults + foreign)
    }

    var requests: Int { kernel.requests }

    mutating func create(_ type: InterruptType, count: Int) throws {
        let source = sources[type] ?? FreeSource(type: type, count: count)
        group = try InterruptSourceGroup(source: source, sink: sink, count: count, pin: type == .legacy ? 16 : nil)
    }

    func enable() throws {
        let group = try created
        try group.enable(
            (0..<group.count).map { index in
                group.type == .legacy
                    ? InterruptConfiguration(startsMasked: false)
                    : InterruptConfiguration(message: message(index, of: group), startsMasked: false)
            })
    }

    func disable() throws { try created.disable() }

    mutating func destroy() throws {
        try created.destroy()
        group = nil
    }

    mutating func update(_ index: Int) throws {
        flip ^= 1
        let group = try created
        var changed = message(index, of: group)
        changed.data ^= flip
        try group.update(index, InterruptConfiguration(message: changed))
    }

    func trigger(_ index: Int) throws { try created.trigger(index) }
    func mask(_ index: Int) throws { try created.mask(index) }
    func unmask(_ index: Int) throws { try created.unmask(index) }

    mutating func bringUp(count: Int) throws {
        try create(.msix, count: count)
        let group = try created
        let empty = InterruptConfiguration(message: InterruptMessage(address: 0, data: 0), startsMasked: true)
        try group.enable(Array(repeating: empty, count: count))
        for index in 0..<count {
            try group.update(index, InterruptConfiguration(message: message(index, of: group)))
        }
        for index in 0..<count { try group.unmask(index) }
    }

    private var created: InterruptSourceGroup {
        get throws {
            guard let group else { throw InterruptError.notEnabled }
            return group
        }
    }

    /// MSI-X vectors differ as the floor's do; the vectors of an MSI block have one pair.
    private func message(_ index: Int, of group: InterruptSourceGroup) -> InterruptMessage {
        let data = group.type == .msi ? 64 : UInt32(64 + index % 128)
        return InterruptMessage(address: 0xfee0_0000, data: data)
    }
}
