internal import GuestLibrary
internal import InterruptSources
internal import KVM
internal import KVMInterrupts
internal import LinuxSystem
internal import SelfTestProtocol
internal import SystemPackage

/// The self-test guest: a virtual machine whose CPUs do nothing but count the interrupts they get.
///
/// Once it runs, an interrupt passes from its eventfd to its counter without any call of this process.
final class GuestMachine: Sendable {
    private let machine: KVMVirtualMachine
    private let relay: NotifierRelay
    let delivery: GuestDelivery
    private let slots: Int
    private let fault: GuestFault?
    private let vcpus: [KVMVCPU]
    private let threads: [BlockingLane]
    private let ended = Lock<[Int: Result<KVMExit, KernelError>]>([:])

    // The spurious-interrupt vector register in x2APIC mode, and in it: APIC enabled, vector 255.
    private static let spuriousVectorRegister: UInt32 = 0x80f
    private static let enabledWithVector255: UInt64 = 0x1ff
    private static let messageAddress: UInt64 = 0xfee0_0000

    /// Makes the machine. `counters` is the memory of ``GuestCounters``, as received from vfiod. Its CPUs do not run
    /// yet. Throws which step failed; EINVAL for slots out of range, for a level-triggered guest of more than one slot,
    /// and for a fault that needs two.
    init(
        _ system: KVMSystem, _ delivery: GuestDelivery, slots: Int, fault: GuestFault?,
        counters: consuming OwnedDescriptor
    ) throws(GuestFailure) {
        let vcpuCount = try GuestMachine.checkedVCPUs(delivery, slots: slots, fault: fault)
        let program = GuestProgram(delivery)
        let received = counters
        var step = "map the counters"
        do throws(KernelError) {
            let shared = try SharedMemory(received: received, length: GuestCounters.length(vcpus: vcpuCount))
            let memory = try SharedMemory(name: "vfiod-selftest-program", length: GuestProgram.length)
            memory.memory.store(program.image, at: 0)

            step = "make a virtual machine"
            machine = try system.createVirtualMachine()
            step = "make its interrupt controllers"
            try machine.createInterruptControllers()
            step = "give it memory"
            try machine.setMemory(slot: 0, KVMMemory(memory, at: 0))
            try machine.setMemory(slot: 1, KVMMemory(shared, at: GuestProgram.countersAddress))
            step = "make its virtual CPUs"
            vcpus = try GuestMachine.makeVCPUs(vcpuCount, of: machine, program, try system.supportedCPUID())
            threads = try (0..<vcpuCount).map { number throws(KernelError) in
                try BlockingLane(name: "vcpu \(number)")
            }
            if delivery == .level {
                step = "set its IOAPIC"
                try machine.setRedirection(
                    pin: GuestSlot.levelPin,
                    IOAPICRedirection(vector: GuestSlot.firstVector, destination: 0, isLevel: true))
            }
        } catch {
            throw GuestFailure(step: step, error)
        }
        relay = NotifierRelay(into: KVMInterruptSink(machine))
        self.delivery = delivery
        self.slots = slots
        self.fault = fault
    }

    /// Lets the CPUs run, but for the one that ``GuestFault/stopVCPU`` stops.
    func start() {
        for (number, vcpu) in vcpus.enumerated() where !isStopped(number) {
            threads[number].start { [weak self] in
                let exit = Result { () throws(KernelError) in try vcpu.run() }
                self?.ended.withLock { $0[number] = exit }
            }
        }
    }

    /// Why CPUs have ended that ran, by number. Anything here before ``stop()`` is a failure of the guest.
    var exits: [Int: Result<KVMExit, KernelError>] { ended.withLock { $0 } }

    /// Joins slots `first ..< first + notifiers.count`, faults included. For a level-triggered guest that is slot 0, and
    /// `resample` is signalled at the guest's EOI.
    func connect(first: Int, _ notifiers: [EventFD], resample: EventFD? = nil) throws(GuestFailure) {
        let indices = try checkedSlots(first: first, count: notifiers.count)
        do throws(InterruptError) {
            guard delivery == .level else {
                var batch = zip(indices, notifiers).map { NotifierRelay.Joint($1, message(forSlot: $0)) }
                if fault == .dropIRQFD && indices.upperBound == slots { batch.removeLast() }
                return try relay.join(first: first, batch)
            }
            guard let resample, let trigger = notifiers.first else { throw .invalidCount(.legacy, notifiers.count) }
            if fault == .dropIRQFD { return }
            try relay.join(first, pin: GuestSlot.levelPin, notifier: trigger, resample: resample)
        } catch {
            throw GuestFailure(step: "join slots \(first) to \(indices.upperBound - 1)", error.asKernelError)
        }
    }

    /// Ends the joining of slots; those not joined are no error.
    func disconnect(first: Int, count: Int) throws(GuestFailure) {
        let indices = try checkedSlots(first: first, count: count)
        do throws(InterruptError) {
            try relay.leave(indices)
        } catch {
            throw GuestFailure(step: "part slots \(first) to \(indices.upperBound - 1)", error.asKernelError)
        }
    }

    /// Ends the CPUs that run, and waits for them. A level-triggered interrupt that waits for its acknowledgement must
    /// have got it.
    func stop() async {
        for number in vcpus.indices where !isStopped(number) {
            // A CPU that has ended already cannot be told again, which is no harm.
            _ = try? machine.signalMessage(
                address: GuestMachine.address(ofVCPU: number), data: UInt32(GuestProgram.stopVector))
        }
        for thread in threads { await thread.run {} }
    }

    private func isStopped(_ vcpu: Int) -> Bool { fault == .stopVCPU && vcpu == 0 }

    private func checkedSlots(first: Int, count: Int) throws(GuestFailure) -> Range<Int> {
        guard first >= 0, count > 0, count <= slots, first <= slots - count else {
            throw GuestFailure(
                step: "find the slots", KernelError("\(count) slots from \(first) of \(slots)", .invalidArgument))
        }
        return first..<first + count
    }

    private func message(forSlot index: Int) -> InterruptMessage {
        var index = index
        switch fault {
        case .swapRoutes where index < 2: index = 1 - index
        case .shareVector where index == 1: index = 0
        default: break
        }
        let slot = GuestSlot(index: index)
        return InterruptMessage(
            address: GuestMachine.address(ofVCPU: slot?.vcpu ?? 0), data: UInt32(slot?.vector ?? 255))
    }

    // Fixed delivery to one local APIC: its id in bits 19 to 12 (Intel SDM volume 3, section 11.11.1).
    private static func address(ofVCPU vcpu: Int) -> UInt64 { messageAddress | UInt64(vcpu) << 12 }

    private static func checkedVCPUs(
        _ delivery: GuestDelivery, slots: Int, fault: GuestFault?
    ) throws(GuestFailure) -> Int {
        let needed = fault == .swapRoutes || fault == .shareVector ? 2 : 1
        let most = delivery == .level ? 1 : GuestSlot.maximumSlots
        guard slots >= needed, slots <= most, let vcpus = GuestSlot.vcpus(forSlots: slots) else {
            let what = fault.map { "\(slots) slots with fault \($0.rawValue)" } ?? "\(slots) slots"
            throw GuestFailure(
                step: "check the size", KernelError(what, .invalidArgument),
                hint: "this guest needs \(needed) to \(most) vectors")
        }
        return vcpus
    }

    private static func makeVCPUs(
        _ count: Int, of machine: KVMVirtualMachine, _ program: GuestProgram, _ supported: [CPUIDEntry]
    ) throws(KernelError) -> [KVMVCPU] {
        let identity = supported.map { entry in
            var entry = entry
            // Leaf 1, ECX bit 21: x2APIC, which KVM emulates on every host.
            if entry.function == 1 { entry.ecx |= 1 << 21 }
            return entry
        }
        return try (0..<count).map { number throws(KernelError) in
            let vcpu = try machine.createVCPU(number)
            try vcpu.setCPUID(identity)
            try vcpu.setRealMode(program.state(ofVCPU: number))
            try vcpu.setMSR(spuriousVectorRegister, to: enabledWithVector255)
            try vcpu.setRunnable()
            return vcpu
        }
    }
}

extension InterruptError {
    /// The kernel's refusal where it was one; else ENOSPC for exhausted numbers and EINVAL for the rest.
    fileprivate var asKernelError: KernelError {
        switch self {
        case .kernel(let error): error
        case .numbersExhausted: KernelError("\(self)", .noSpace)
        default: KernelError("\(self)", .invalidArgument)
        }
    }
}
