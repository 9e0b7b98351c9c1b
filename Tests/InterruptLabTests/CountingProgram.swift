/// What the counting guest executes: it halts, counts each of its 256 vectors in the CPU's page, and ends the interrupt.
///
/// Vector ``lineVector`` is a level: its handler does what a driver does. It looks at the interrupt status of up to two
/// devices, acknowledges those that are set in the device itself, and only then ends the interrupt. The registers are
/// those of QEMU's edu device.
struct CountingProgram {
    /// Bytes of memory, from guest address 0: vector table, code and stacks.
    static let length = 0x10000
    /// Where the pages of the CPUs begin, one each.
    static let pages: UInt64 = 0x10000
    /// Where the registers of the two devices on the line are.
    static let registers: [UInt64] = [0x20000, 0x21000]
    static let pageSize = 4096

    /// Words in the page of CPU 0, behind the 256 counters.
    static let permitted = 0x400
    static let completed = 0x404
    static let served = [0x408, 0x40c]

    /// The instructions between interrupts, in the code segment.
    static let idle: Range<UInt16> = 0..<4

    static let lineVector: UInt8 = 48
    /// Ends the CPU that takes it.
    static let stopVector: UInt8 = 253

    private static let codeSegment: UInt16 = 0x100
    private static let stackSegment: UInt16 = 0x800
    private static let stackSize: UInt16 = 0x100
    private static let status: UInt16 = 0x24
    private static let acknowledge: UInt16 = 0x64

    /// The memory from 0 on.
    let image: [UInt8]

    init() {
        // sti; hlt; jmp back to sti
        var code: [UInt8] = [0xfb, 0xf4, 0xeb, 0xfc]
        var table: [UInt8] = []
        for vector in UInt8.min...UInt8.max {
            table += CountingProgram.bytes(UInt16(code.count)) + CountingProgram.bytes(CountingProgram.codeSegment)
            code += CountingProgram.handler(of: vector)
        }
        let gap = [UInt8](repeating: 0, count: Int(CountingProgram.codeSegment) * 16 - table.count)
        image = table + gap + code
    }

    static func codeState(ofVCPU vcpu: Int) -> (code: UInt16, data: UInt16, extra: UInt16, stack: UInt16, top: UInt16) {
        (
            codeSegment, UInt16((pages + UInt64(vcpu * pageSize)) / 16), UInt16(registers[0] / 16),
            stackSegment + stackSize / 16 * UInt16(vcpu), stackSize
        )
    }

    /// Where nothing of a CPU's stack ever is, by offset.
    static func unusedStacks(vcpus: Int) -> [Range<Int>] {
        (0..<vcpus).map { cpu in
            let base = Int(stackSegment) * 16 + cpu * Int(stackSize)
            return base..<base + Int(stackSize) - 64
        }
    }

    /// The memory of a CPU's stack at one of its stack pointers.
    static func stack(ofVCPU vcpu: Int, at pointer: Int) -> Int {
        Int(stackSegment) * 16 + vcpu * Int(stackSize) + pointer
    }

    private static func handler(of vector: UInt8) -> [UInt8] {
        let counter = UInt16(vector) * 4
        switch vector {
        case stopVector: return stop
        // An exception is not survived.
        case ..<32: return increment(counter) + stop
        case lineVector:
            let load: [UInt8] = [0x66, 0xa1] + bytes(counter)
            // wait: pause; cmp eax, [permitted]; ja wait
            let wait: [UInt8] = [0xf3, 0x90, 0x66, 0x3b, 0x06] + bytes(UInt16(permitted)) + [0x77, 0xf7]
            return increment(counter) + load + wait + serve(0) + serve(1) + end + increment(UInt16(completed)) + [0xcf]
        default: return increment(counter) + end + [0xcf]
        }
    }

    /// Reads a device's status; if it is not 0, counts and writes it back to where it is acknowledged.
    private static func serve(_ device: Int) -> [UInt8] {
        let base = UInt16(registers[device] - registers[0])
        let counted = increment(UInt16(served[device]))
        let written: [UInt8] = [0x66, 0x26, 0xa3] + bytes(base + acknowledge)
        // mov eax, es:[status]; test eax, eax; jz over
        let looked: [UInt8] = [0x66, 0x26, 0xa1] + bytes(base + status) + [0x66, 0x85, 0xc0]
        return looked + [0x74, UInt8(counted.count + written.count)] + counted + written
    }

    /// inc dword [offset]
    private static func increment(_ offset: UInt16) -> [UInt8] { [0x66, 0xff, 0x06] + bytes(offset) }

    /// WRMSR of 0 to the x2APIC's end-of-interrupt register, 0x80b (Intel SDM volume 3, section 11.12.1).
    private static let end: [UInt8] =
        [0x66, 0xb9, 0x0b, 0x08, 0, 0] + [0x66, 0xb8, 0, 0, 0, 0] + [0x66, 0xba, 0, 0, 0, 0] + [0x0f, 0x30]

    /// out 0xf4, al: leaves KVM_RUN. And again, should it be entered again.
    private static let stop: [UInt8] = [0xe6, 0xf4, 0xeb, 0xfc]

    private static func bytes(_ word: UInt16) -> [UInt8] { [UInt8(truncatingIfNeeded: word), UInt8(word >> 8)] }
}
