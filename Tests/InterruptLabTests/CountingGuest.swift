import CLinux
import InterruptSources
import KVMInterrupts
import LinuxSystem
import TestSupport
import Testing

@testable import KVM

/// A virtual machine of this process whose CPUs count the interrupts they get, and the sink that its groups drive.
///
/// A slot is a message's place in the guest: a CPU and one of its vectors. All of them have a higher priority than the
/// fence's vector, so that what was delivered before a fence is counted when the fence is.
final class CountingGuest: Sendable {
    /// The IOAPIC pin of the level-triggered vector.
    static let pin = 16
    static let slotsPerVCPU = 128
    private static let firstVector = 64
    private static let fenceVector = 34
    private static let messageAddress: UInt64 = 0xfee0_0000

    let kernel: CountedKernel
    let sink: KVMInterruptSink
    let machine: KVMVirtualMachine
    private let program: KVMMemory
    private let cpus: [KVMVCPU]
    private let pages: [KVMMemory]
    private let threads: [BlockingLane]
    private let ended = Lock<[Int: Result<KVMExit, KernelError>]>([:])
    private let fenceTurn = Lock<Void>(())
    // Keeps mapped what the guest sees as the registers of the devices on its line.
    private let registers: [DevicePage]

    /// What a device shows the guest of itself.
    enum DevicePage: Sendable {
        case memory(KVMMemory)
        case registers(SharedMapping)
    }

    /// Starts a guest. `registers` are the first pages of the devices whose line its handler serves, at most two.
    /// `checksAddresses` says whether the sink checks messages itself or leaves it to KVM.
    init(vcpus: Int = 2, registers given: [SharedMapping] = [], checksAddresses: Bool = true) throws {
        let kernel = CountedKernel()
        let system = try KVMSystem(kernel: kernel)
        let node = try kernel.open("/dev/kvm", .readWrite)
        let size = try kernel.ioctl(node.rawValue, CLINUX_KVM_GET_VCPU_MMAP_SIZE, "KVM_GET_VCPU_MMAP_SIZE")
        let made = OwnedDescriptor(adopting: try kernel.ioctl(node.rawValue, CLINUX_KVM_CREATE_VM, "KVM_CREATE_VM"))
        let raw = made.rawValue
        let machine = KVMVirtualMachine(kernel: kernel, adopting: try made.duplicate(), runAreaLength: Int(size))
        // A refused address is real only where KVM checks addresses.
        try machine.enableWideAPICIDs()
        try machine.createInterruptControllers()
        let memory = try SharedMemory(name: "lab-program", length: CountingProgram.length)
        memory.memory.store(CountingProgram().image, at: 0)
        program = KVMMemory(memory, at: 0)
        try machine.setMemory(slot: 0, program)
        pages = try (0..<vcpus).map { number in
            let page = try SharedMemory(name: "lab-counters", length: CountingProgram.pageSize)
            return KVMMemory(page, at: CountingProgram.pages + UInt64(number * CountingProgram.pageSize))
        }
        for (number, page) in pages.enumerated() { try machine.setMemory(slot: UInt32(1 + number), page) }
        registers = try CountingProgram.registers.enumerated().map { number, address in
            let slot = UInt32(100 + number)
            guard given.indices.contains(number) else {
                let page = try SharedMemory(name: "lab-registers", length: CountingProgram.pageSize)
                let memory = KVMMemory(page, at: address)
                try machine.setMemory(slot: slot, memory)
                return .memory(memory)
            }
            var region = kvm_userspace_memory_region(
                slot: slot, flags: 0, guest_phys_addr: address, memory_size: UInt64(CountingProgram.pageSize),
                userspace_addr: given[number].memory.address)
            _ = try kernel.ioctl(
                raw, CLINUX_KVM_SET_USER_MEMORY_REGION, "KVM_SET_USER_MEMORY_REGION", &region)
            return .registers(given[number])
        }
        let identity = try system.supportedCPUID().map { entry in
            var entry = entry
            // Leaf 1, ECX bit 21: x2APIC.
            if entry.function == 1 { entry.ecx |= 1 << 21 }
            return entry
        }
        cpus = try (0..<vcpus).map { number in
            let cpu = try machine.createVCPU(number)
            try cpu.setCPUID(identity)
            let segments = CountingProgram.codeState(ofVCPU: number)
            try cpu.setRealMode(
                RealModeState(
                    codeSegment: segments.code, dataSegment: segments.data, extraSegment: segments.extra,
                    stackSegment: segments.stack, instructionPointer: 0, stackPointer: segments.top,
                    // On, in x2APIC mode, and the first CPU the one that boots.
                    localAPICBase: 0xfee0_0000 | 1 << 11 | 1 << 10 | (number == 0 ? 1 << 8 : 0)))
            // The spurious-interrupt vector register: local APIC on, vector 255.
            try cpu.setMSR(0x80f, to: 0x1ff)
            try cpu.setRunnable()
            return cpu
        }
        threads = try (0..<vcpus).map { try BlockingLane(name: "vcpu \($0)") }
        try machine.setRedirection(
            pin: CountingGuest.pin,
            IOAPICRedirection(vector: CountingProgram.lineVector, destination: 0, isLevel: true))
        sink = KVMInterruptSink(machine, hasWideAPICIDs: checksAddresses)
        self.kernel = kernel
        self.machine = machine
        permit(.max)
        for (number, cpu) in cpus.enumerated() {
            threads[number].start { [weak self] in
                let result = Result { () throws(KernelError) in try cpu.run() }
                self?.ended.withLock { $0[number] = result }
            }
        }
    }

    deinit {
        permit(.max)
        for number in pages.indices {
            _ = try? machine.signalMessage(
                address: CountingGuest.address(number), data: UInt32(CountingProgram.stopVector))
        }
    }

    /// How many slots the guest has.
    var slots: Int { pages.count * CountingGuest.slotsPerVCPU }

    /// The message that arrives on `slot`.
    func message(_ slot: Int) -> InterruptMessage {
        InterruptMessage(
            address: CountingGuest.address(slot / CountingGuest.slotsPerVCPU),
            data: UInt32(CountingGuest.firstVector + slot % CountingGuest.slotsPerVCPU))
    }

    /// How often a slot was interrupted.
    func count(_ slot: Int) -> UInt32 {
        let vector = CountingGuest.firstVector + slot % CountingGuest.slotsPerVCPU
        return word(slot / CountingGuest.slotsPerVCPU, vector * 4)
    }

    /// How often all slots were, by slot; those that were not are left out.
    var counts: [Int: UInt32] {
        (0..<slots).reduce(into: [:]) { counts, slot in
            let count = count(slot)
            if count > 0 { counts[slot] = count }
        }
    }

    /// How often the line's handler was entered, how often it was done, and how often it found each device.
    var line: UInt32 { word(0, Int(CountingProgram.lineVector) * 4) }
    var completed: UInt32 { word(0, CountingProgram.completed) }
    func served(_ device: Int) -> UInt32 { word(0, CountingProgram.served[device]) }

    /// Lets the line's handler pass its first `count` calls; at first all of them.
    func permit(_ count: UInt32) { pages[0].shared.memory.store32(count, at: CountingProgram.permitted) }

    /// Waits until all that was delivered before is counted. Throws what went wrong with the guest.
    func fence() throws {
        try fenceTurn.withLock { _ throws in
            for number in pages.indices {
                let offset = CountingGuest.fenceVector * 4
                let before = word(number, offset)
                _ = try machine.signalMessage(
                    address: CountingGuest.address(number), data: UInt32(CountingGuest.fenceVector))
                guard eventually({ word(number, offset) == before &+ 1 }) else {
                    try checkProgram()
                    throw silence(of: number)
                }
            }
            try check()
        }
    }

    /// Throws if anything arrived where no slot is, or a CPU has ended.
    func check() throws {
        let exits = ended.withLock { $0 }
        let own = CountingGuest.firstVector..<CountingGuest.firstVector + CountingGuest.slotsPerVCPU
        for number in pages.indices {
            for vector in 0..<256 where !own.contains(vector) && word(number, vector * 4) > 0 {
                if vector == CountingGuest.fenceVector || vector == Int(CountingProgram.lineVector) { continue }
                try checkProgram()
                throw GuestBroken(what: "virtual CPU \(number) was interrupted on vector \(vector): \(exits)")
            }
        }
        guard exits.isEmpty else {
            try checkProgram()
            throw GuestBroken(what: "virtual CPUs ended: \(exits)")
        }
    }

    /// Waits until `condition` holds, and records `problem` if it never does. Throws what is wrong with the guest, if that
    /// is why.
    func expect(_ problem: Comment, at location: SourceLocation = #_sourceLocation, _ condition: () -> Bool) throws {
        guard !eventually(condition) else { return }
        try fence()
        Issue.record(problem, sourceLocation: location)
    }

    /// Throws ``GuestStrayed`` if a CPU executed what is not the program: it wrote where the program never does, or ended
    /// in a way that the program has no instruction for.
    private func checkProgram() throws {
        for (number, exit) in ended.withLock({ $0 }) {
            switch exit {
            case .success(.memoryAccess), .success(.internalError), .success(.shutdown), .success(.entryFailed):
                throw GuestStrayed(what: "virtual CPU \(number) ended: \(exit)")
            default: break
            }
        }
        for (offset, byte) in CountingProgram().image.enumerated() {
            let word = program.shared.memory.load32(at: offset & ~3) ?? 0
            if UInt8(truncatingIfNeeded: word >> UInt32(offset % 4 * 8)) != byte {
                throw GuestStrayed(what: "the guest's program was overwritten at \(offset)")
            }
        }
        // A stack is used from its end by one interrupt at a time: six bytes each, and the same again where one follows on
        // the other.
        for stack in CountingProgram.unusedStacks(vcpus: pages.count) {
            for offset in stride(from: stack.lowerBound, to: stack.upperBound, by: 4)
            where program.shared.memory.load32(at: offset) != 0 {
                throw GuestStrayed(what: "the guest's stack is in use at \(offset)")
            }
        }
        // No message of these tests has a vector below 32, and no instruction of the program has an exception.
        let exceptions = (0..<32).filter { vector in pages.indices.contains { word($0, vector * 4) > 0 } }
        if !exceptions.isEmpty { throw GuestStrayed(what: "the guest had the exceptions \(exceptions)") }
    }

    /// Why a CPU does not take the fence's vector, which comes to it past all groups and routes. Ends the CPU.
    private func silence(of number: Int) -> any Error {
        // Of the highest priority: neither what is in service nor a storm of others keeps it back.
        _ = try? machine.signalMessage(
            address: CountingGuest.address(number), data: UInt32(CountingProgram.stopVector))
        guard eventually({ ended.withLock { $0[number] } != nil }) else {
            return GuestStrayed(what: "virtual CPU \(number) takes no vector at all")
        }
        do {
            let vectors = try cpus[number].vectorsInService().filter { $0 != CountingProgram.stopVector }
            let place = CountingProgram.stack(ofVCPU: number, at: try cpus[number].stackPointer())
            let word = program.shared.memory.load32(at: place & ~3) ?? .max
            let interrupted = UInt16(truncatingIfNeeded: word >> UInt32(place % 4 * 8))
            let what = "virtual CPU \(number), interrupted at \(interrupted), has in service: \(vectors)"
            // An interrupt is in service from when the CPU is given it to the write that ends it, and in its handler all
            // that time. One that is while the program idles was given to the CPU, which did not enter the handler or did
            // not execute all of it.
            let isIdle = CountingProgram.idle.contains(interrupted)
            return isIdle && !vectors.isEmpty ? GuestStrayed(what: what) : GuestBroken(what: what)
        } catch {
            return error
        }
    }

    private func word(_ cpu: Int, _ offset: Int) -> UInt32 { pages[cpu].shared.memory.load32(at: offset) ?? 0 }

    private static func address(_ cpu: Int) -> UInt64 { messageAddress | UInt64(cpu) << 12 }
}

/// The guest did what no interrupt of a group makes it do.
struct GuestBroken: Error { let what: String }

/// The guest did what its program does not, whatever interrupts it gets.
struct GuestStrayed: Error { let what: String }

/// Runs `body`, up to three times if its guest strays. The lab's CPU is software: under a storm of interrupts it now and
/// then lets a guest return from an interrupt that it was not given, or lets it take none any more, which no kernel and no
/// VMM can make a CPU do. What the guest counts is then worth nothing, in either direction. A real CPU has one try.
func onSoundGuest(_ body: () throws -> Void) throws {
    for _ in 0..<(Requirements.vfioLab ? 2 : 0) {
        do { return try body() } catch let strayed as GuestStrayed { print("once more, \(strayed.what)") }
    }
    try body()
}

/// Mapped registers of a device, shared with the guest that sees them.
final class SharedMapping: Sendable {
    let memory: MappedMemory
    // The mapping is the device's.
    private let owner: any Sendable

    init(_ memory: consuming MappedMemory, of owner: any Sendable) {
        self.memory = memory
        self.owner = owner
    }
}
