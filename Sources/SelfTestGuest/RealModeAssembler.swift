/// Writes the few 16-bit x86 instructions that the self-test guest is made of (Intel SDM volume 2).
struct RealModeAssembler {
    /// A place in the program that jumps can name before it is placed.
    struct Label: Hashable {
        fileprivate let number: Int
    }

    private enum Width {
        case byte, word
    }

    private(set) var bytes: [UInt8] = []
    private var labels: [Int?] = []
    private var fixups: [(position: Int, width: Width, label: Label)] = []

    /// A label that is not placed yet.
    mutating func label() -> Label {
        labels.append(nil)
        return Label(number: labels.count - 1)
    }

    /// Places `label` at the next instruction, and returns its offset.
    @discardableResult
    mutating func place(_ label: Label) -> UInt16 {
        labels[label.number] = bytes.count
        return UInt16(clamping: bytes.count)
    }

    /// STI: interrupts on, from after the next instruction.
    mutating func enableInterrupts() { bytes += [0xfb] }

    /// HLT: waits for an interrupt.
    mutating func halt() { bytes += [0xf4] }

    /// PAUSE: a hint in a waiting loop.
    mutating func pause() { bytes += [0xf3, 0x90] }

    /// IRET.
    mutating func returnFromInterrupt() { bytes += [0xcf] }

    /// WRMSR of a constant: ECX = register, EAX = value, EDX = 0.
    mutating func writeMSR(_ register: UInt32, _ value: UInt32) {
        bytes += [0x66, 0xb9] + RealModeAssembler.littleEndian(register)
        bytes += [0x66, 0xb8] + RealModeAssembler.littleEndian(value)
        bytes += [0x66, 0xba] + RealModeAssembler.littleEndian(0)
        bytes += [0x0f, 0x30]
    }

    /// OUT imm8, AL.
    mutating func writePort(_ port: UInt8) { bytes += [0xe6, port] }

    /// INC of the 32-bit word at DS:offset.
    mutating func increment(_ offset: UInt16) {
        bytes += [0x66, 0xff, 0x06] + RealModeAssembler.littleEndian(offset)
    }

    /// INC of the 32-bit word at ES:offset.
    mutating func incrementExtra(_ offset: UInt16) {
        bytes += [0x26, 0x66, 0xff, 0x06] + RealModeAssembler.littleEndian(offset)
    }

    /// MOV EAX from DS:offset.
    mutating func load(_ offset: UInt16) {
        bytes += [0x66, 0xa1] + RealModeAssembler.littleEndian(offset)
    }

    /// CMP of EAX with the 32-bit word at ES:offset.
    mutating func compareWithExtra(_ offset: UInt16) {
        bytes += [0x26, 0x66, 0x3b, 0x06] + RealModeAssembler.littleEndian(offset)
    }

    /// JMP near.
    mutating func jump(_ label: Label) {
        bytes += [0xe9]
        refer(to: label, .word)
    }

    /// JA short: where EAX was above what it was compared with, unsigned. At most 128 bytes away.
    mutating func jumpIfAbove(_ label: Label) {
        bytes += [0x77]
        refer(to: label, .byte)
    }

    /// The program, with every jump's distance filled in.
    func assembled() -> [UInt8] {
        var program = bytes
        for (position, width, label) in fixups {
            let size = width == .byte ? 1 : 2
            // Distances count from the end of the instruction, which ends with them.
            let distance = (labels[label.number] ?? position) - position - size
            program[position] = UInt8(truncatingIfNeeded: distance)
            if width == .word { program[position + 1] = UInt8(truncatingIfNeeded: distance >> 8) }
        }
        return program
    }

    private mutating func refer(to label: Label, _ width: Width) {
        fixups.append((bytes.count, width, label))
        bytes += [UInt8](repeating: 0, count: width == .byte ? 1 : 2)
    }

    private static func littleEndian<Number: FixedWidthInteger>(_ number: Number) -> [UInt8] {
        (0..<Number.bitWidth / 8).map { UInt8(truncatingIfNeeded: number >> ($0 * 8)) }
    }
}
