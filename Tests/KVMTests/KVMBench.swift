import CLinux
import KVM
import LinuxSystem
import SystemPackage
import TestSupport

/// A virtual machine with one halted virtual CPU whose local APIC keeps what is raised, over a real or a fake kernel.
/// What happens is written down, to be compared.
final class KVMBench {
    let kernel: any Kernel
    let system: KVMSystem
    let machine: KVMVirtualMachine
    /// A descriptor of the machine's own, for requests that the wrappers would not make.
    let descriptor: OwnedDescriptor
    private(set) var log: [String] = []
    private var vcpu: OwnedDescriptor?

    // No rule routes anything here: an event of its own tells that all before it have been served.
    private static let fenceNumber: UInt32 = 4095
    private static let fenceVector: UInt32 = 20
    private var fence: EventFD?

    init(_ kernel: any Kernel, withControllers: Bool = true) throws {
        self.kernel = kernel
        system = try KVMSystem(kernel: kernel)
        let node = try kernel.open("/dev/kvm", .readWrite)
        let made = OwnedDescriptor(
            adopting: try kernel.ioctl(node.rawValue, CLINUX_KVM_CREATE_VM, "KVM_CREATE_VM"))
        machine = KVMVirtualMachine(kernel: kernel, adopting: try made.duplicate())
        descriptor = made
        if withControllers { try startWithControllers() }
    }

    /// The message that raises `vector` on the virtual CPU.
    static func message(_ vector: UInt32) -> KVMRoute.Target {
        .message(address: 0xfee0_0000, data: vector, deviceID: nil)
    }

    /// Sets these routes beside the ones the machine came with.
    func route(_ routes: [UInt32: UInt32]) throws(KernelError) {
        try machine.setRouting(KVMRoute.defaults + routes.map { KVMRoute(gsi: $0, KVMBench.message($1)) })
    }

    /// Writes down whether `body` was done, or the errno it was refused with.
    func attempt(_ what: String, _ body: () throws(KernelError) -> Void) {
        do throws(KernelError) {
            try body()
            log.append("\(what): ok")
        } catch {
            log.append("\(what): \(error.errno.name)")
        }
    }

    /// Writes a fact down.
    func note(_ what: String) { log.append(what) }

    /// Waits for these vectors to be requested, then writes down what is, and forgets it.
    func arrivals(_ expected: [UInt32]) throws {
        _ = eventually { (try? requests()) == expected }
        // Whatever else was under way has arrived when this has.
        _ = try machine.signalMessage(address: 0xfee0_0000, data: KVMBench.fenceVector)
        _ = eventually { (try? requests(withFence: true).contains(KVMBench.fenceVector)) == true }
        log.append("arrived: \(try requests())")
        var page = try localAPIC()
        for word in 0..<8 { page.replaceSubrange(0x200 + word * 16..<0x204 + word * 16, with: [0, 0, 0, 0]) }
        try setLocalAPIC(page)
    }

    /// Writes down whether the IOAPIC has a request of this pin, once it is as expected or has had its time to be.
    func requested(pin: Int, _ expected: Bool) throws {
        func isRequested() throws -> Bool {
            // struct kvm_irqchip: chip 2 is the IOAPIC, whose request bits are the word at byte 24.
            var state = [UInt32](repeating: 0, count: 130)
            state[0] = 2
            _ = try kernel.ioctl(descriptor.rawValue, CLINUX_KVM_GET_IRQCHIP, "KVM_GET_IRQCHIP", buffer: &state)
            return state[6] & 1 << UInt32(pin) != 0
        }
        _ = eventually { (try? isRequested()) == expected }
        log.append("requested: \(try isRequested())")
    }

    private func startWithControllers() throws {
        try machine.createInterruptControllers()
        vcpu = OwnedDescriptor(
            adopting: try kernel.ioctl(descriptor.rawValue, CLINUX_KVM_CREATE_VCPU, "KVM_CREATE_VCPU", value: 0))
        var page = try localAPIC()
        // The spurious-interrupt vector register: local APIC on.
        page.replaceSubrange(0xf0..<0xf4, with: [0xff, 1, 0, 0])
        try setLocalAPIC(page)
    }

    private func requests(withFence: Bool = false) throws -> [UInt32] {
        let page = try localAPIC()
        return (0..<256 as Range<UInt32>).filter { vector in
            page[0x200 + Int(vector / 32) * 16 + Int(vector % 32 / 8)] & 1 << UInt8(vector % 8) != 0
                && (withFence || vector != KVMBench.fenceVector)
        }
    }

    private func localAPIC() throws -> [UInt8] {
        var page = [UInt8](repeating: 0, count: 1024)
        _ = try kernel.ioctl(vcpu?.rawValue ?? -1, CLINUX_KVM_GET_LAPIC, "KVM_GET_LAPIC", buffer: &page)
        return page
    }

    private func setLocalAPIC(_ page: [UInt8]) throws {
        var page = page
        _ = try kernel.ioctl(vcpu?.rawValue ?? -1, CLINUX_KVM_SET_LAPIC, "KVM_SET_LAPIC", buffer: &page)
    }
}
