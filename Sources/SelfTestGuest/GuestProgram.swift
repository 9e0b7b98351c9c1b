internal import KVM
internal import SelfTestProtocol

/// The self-test guest's memory below 64 KiB: interrupt vector table, program and stacks. Above it the counters follow.
///
/// The program halts and waits. Each of the 256 vectors has a stub of its own, which adds 1 to the vector's counter in
/// the CPU's page (DS) and ends the interrupt at the local APIC, in x2APIC mode by a model-specific register. Two kinds
/// differ: exceptions stop the CPU after they were counted, and the level-triggered slot waits between count and end
/// until the acknowledge word (ES) has reached the count, and adds 1 to the completed word after its end.
struct GuestProgram {
    /// Bytes of memory, from guest address 0.
    static let length = 0x10000
    /// Where the counters begin: ``GuestCounters``'s control page, then a page for each CPU.
    static let countersAddress: UInt64 = 0x10000
    /// An interrupt on this vector stops the CPU: KVM_RUN then returns with a write to ``stopPort``.
    static let stopVector: UInt8 = 253
    /// The I/O port that a CPU writes when it stops.
    static let stopPort: UInt16 = 0xf4

    // The real-mode interrupt vector table is at 0: per vector, offset and segment of its handler.
    private static let codeSegment: UInt16 = 0x0100
    private static let firstStackSegment: UInt16 = 0x0800
    private static let stackSize: UInt16 = 0x100
    private static let endOfInterruptRegister: UInt32 = 0x80b

    /// The memory's content up to the program's end.
    let image: [UInt8]
    private let start: UInt16

    init(_ delivery: GuestDelivery) {
        var code = RealModeAssembler()
        let idle = code.label()
        let stop = code.label()
        let end = code.label()

        start = code.place(idle)
        code.enableInterrupts()
        code.halt()
        code.jump(idle)

        code.place(stop)
        code.writePort(UInt8(GuestProgram.stopPort))
        code.jump(stop)

        code.place(end)
        code.writeMSR(GuestProgram.endOfInterruptRegister, 0)
        code.returnFromInterrupt()

        var handlers: [UInt16] = []
        for vector in UInt8.min...UInt8.max {
            let stub = code.label()
            handlers.append(code.place(stub))
            let counter = UInt16(vector) * 4
            switch vector {
            case GuestProgram.stopVector:
                code.jump(stop)
            case ..<GuestSlot.firstVector:
                code.increment(counter)
                code.jump(stop)
            case GuestSlot.firstVector where delivery == .level:
                code.increment(counter)
                code.load(counter)
                let wait = code.label()
                code.place(wait)
                code.pause()
                code.compareWithExtra(UInt16(GuestCounters.acknowledgeOffset))
                code.jumpIfAbove(wait)
                code.writeMSR(GuestProgram.endOfInterruptRegister, 0)
                code.incrementExtra(UInt16(GuestCounters.completedOffset))
                code.returnFromInterrupt()
            default:
                code.increment(counter)
                code.jump(end)
            }
        }

        let table = handlers.flatMap { offset in
            [offset, GuestProgram.codeSegment].flatMap { [UInt8(truncatingIfNeeded: $0), UInt8($0 >> 8)] }
        }
        let gap = [UInt8](repeating: 0, count: Int(GuestProgram.codeSegment) * 16 - table.count)
        image = table + gap + code.assembled()
    }

    /// Where a CPU starts, with which segments, and its local APIC on and in x2APIC mode (Intel SDM volume 3, section
    /// 11.12.1), the first CPU marked as the one that boots.
    func state(ofVCPU vcpu: Int) -> RealModeState {
        let counters = UInt16(GuestProgram.countersAddress / 16)
        let page = UInt16(GuestCounters.pageSize / 16)
        return RealModeState(
            codeSegment: GuestProgram.codeSegment,
            dataSegment: counters + page * UInt16(1 + vcpu),
            extraSegment: counters,
            stackSegment: GuestProgram.firstStackSegment + GuestProgram.stackSize / 16 * UInt16(vcpu),
            instructionPointer: start,
            stackPointer: GuestProgram.stackSize,
            localAPICBase: 0xfee0_0000 | 1 << 11 | 1 << 10 | (vcpu == 0 ? 1 << 8 : 0))
    }
}
