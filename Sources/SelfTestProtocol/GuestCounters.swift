public import LinuxSystem
internal import SystemPackage

/// The memory in which the self-test guest counts, seen from vfiod. vfiod makes it, the guest's virtual CPUs write it:
/// any number may stand there at any time.
///
/// Layout: one control page, then one page for each virtual CPU. A CPU's page begins with 256 counters of 32 bits, one
/// for each x86 vector. The control page begins with the acknowledge word, and the completed word follows it.
public struct GuestCounters: ~Copyable, Sendable {
    /// A page of the layout in bytes.
    public static let pageSize = 4096
    /// Counters in a virtual CPU's page: one for each x86 vector.
    public static let vectorsPerVCPU = 256
    /// Where in the control page the acknowledge word is, bytes.
    public static let acknowledgeOffset = 0
    /// Where in the control page the completed word is, bytes.
    public static let completedOffset = 4

    /// How many slots the guest has.
    public let slots: Int
    /// How many virtual CPUs the guest has.
    public let vcpus: Int
    private let shared: SharedMemory

    /// Makes zeroed counters for a guest of that many slots. Throws EINVAL for a count that is not in
    /// `1 ... GuestSlot.maximumSlots`.
    public init(slots: Int) throws(KernelError) {
        guard let vcpus = GuestSlot.vcpus(forSlots: slots) else {
            throw KernelError("self-test guest", on: "\(slots) slots", .invalidArgument)
        }
        let memory = try SharedMemory(name: "vfiod-selftest", length: GuestCounters.length(vcpus: vcpus))
        self.slots = slots
        self.vcpus = vcpus
        shared = memory
    }

    /// The memory's length in bytes for a guest of that many virtual CPUs.
    public static func length(vcpus: Int) -> Int {
        (1 + vcpus) * pageSize
    }

    /// The descriptor to hand to the guest, valid as long as this value lives.
    public var descriptor: CInt { shared.descriptor.rawValue }

    /// How often slot `index` was interrupted, modulo 2^32; 0 for an index that the guest does not have.
    public func count(ofSlot index: Int) -> UInt32 {
        guard (0..<slots).contains(index), let slot = GuestSlot(index: index) else { return 0 }
        return count(vcpu: slot.vcpu, vector: Int(slot.vector))
    }

    /// How many interrupts arrived on x86 vectors from 32 up that belong to no slot.
    public func strays() -> Int {
        total { vcpu, vector in
            vector >= Int(GuestSlot.firstVector) && !belongsToSlot(vcpu: vcpu, vector: vector)
        }
    }

    /// How many exceptions the virtual CPUs raised (x86 vectors 0 to 31): anything but 0 means that the guest itself
    /// failed, and that the CPU which did so has stopped.
    public func exceptions() -> Int {
        total { _, vector in vector < Int(GuestSlot.firstVector) }
    }

    /// Level-triggered guests: lets the handler of the interrupt that made slot 0 count `count`, and all before it, go
    /// on to its EOI. To be called once the device has stopped asserting its line; `UInt32.max` lets all pass.
    public func acknowledge(_ count: UInt32) {
        shared.memory.store32(count, at: GuestCounters.acknowledgeOffset)
    }

    /// Level-triggered guests: how many interrupts the handler has finished with, its EOI included, modulo 2^32. KVM has
    /// signalled the resample eventfd for all of them, so the next raise cannot fall into the level of the one before.
    public func completed() -> UInt32 {
        shared.memory.load32(at: GuestCounters.completedOffset) ?? 0
    }

    private func count(vcpu: Int, vector: Int) -> UInt32 {
        shared.memory.load32(at: (1 + vcpu) * GuestCounters.pageSize + vector * 4) ?? 0
    }

    private func belongsToSlot(vcpu: Int, vector: Int) -> Bool {
        let offset = vector - Int(GuestSlot.firstVector)
        return (0..<GuestSlot.slotsPerVCPU).contains(offset) && vcpu * GuestSlot.slotsPerVCPU + offset < slots
    }

    private func total(where isCounted: (_ vcpu: Int, _ vector: Int) -> Bool) -> Int {
        var sum = 0
        for vcpu in 0..<vcpus {
            for vector in 0..<GuestCounters.vectorsPerVCPU where isCounted(vcpu, vector) {
                sum += Int(count(vcpu: vcpu, vector: vector))
            }
        }
        return sum
    }
}
