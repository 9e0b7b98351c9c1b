import InterruptSources
import LinuxSystem
import Testing

@testable import Passthrough

/// Registers that behave as the documentation of the two test devices says, and count the messages they send.
private final class ModelRegisters: DeviceRegisters {
    struct State {
        var words: [UInt64: UInt32] = [:]
        var cause: UInt32 = 0
        var mask: UInt32 = 0
        var messages: [Int] = []
        var throttled: Set<Int> = []
        var line = false
        var busMaster = false
    }
    enum Model { case edu, e1000e }
    let model: Model
    let state = Lock(State())

    init(_ model: Model) { self.model = model }

    func enableBusMaster() { state.withLock { $0.busMaster = true } }

    func read32(bar: Int, at offset: UInt64) -> UInt32 {
        state.withLock { model == .edu && offset == 0x24 ? $0.cause : $0.words[offset, default: 0] }
    }

    func write32(_ value: UInt32, bar: Int, at offset: UInt64) {
        state.withLock { state in
            switch (model, offset) {
            case (.edu, 0x60):
                state.cause |= value
                state.line = true
                state.messages.append(0)
            case (.edu, 0x64):
                state.cause &= ~value
                state.line = state.cause != 0
            case (.e1000e, 0x00) where value & (1 << 26) != 0:
                (state.words, state.cause, state.mask, state.throttled) = ([:], 0, 0, [])
            case (.e1000e, 0xc0): state.cause &= ~value
            case (.e1000e, 0xc8): raise(value, &state)
            case (.e1000e, 0xd0): state.mask |= value
            case (.e1000e, 0xd8): state.mask &= ~value
            default: state.words[offset] = value
            }
        }
    }

    /// The end of the throttle intervals: each vector that has one running sends again.
    func throttleEnds() {
        state.withLock { state in
            state.messages += state.throttled.sorted()
            state.throttled = []
        }
    }

    private func raise(_ causes: UInt32, _ state: inout State) {
        let raised = causes & state.mask & ~state.cause
        state.cause |= causes
        let allocation = state.words[0xe4, default: 0]
        for index in 0..<5 where raised & (1 << (20 + index)) != 0 {
            let entry = allocation >> (4 * UInt32(index)) & 0xf
            let vector = Int(entry & 0x7)
            guard entry & 0x8 != 0, state.throttled.insert(vector).inserted else { continue }
            state.messages.append(vector)
        }
    }
}

@Suite("Known test devices")
struct TestDeviceTests {
    @Test("e1000e: each of the five vectors is raised once per raise, and the throttle's end adds nothing")
    func e1000e() throws {
        let registers = ModelRegisters(.e1000e)
        let device = try #require(testDevice(vendorID: 0x8086, deviceID: 0x10d3))
        try device.prepare(.msix, registers)
        #expect(registers.state.withLock { $0.busMaster })
        #expect(device.vectors(of: .msix) == 5)
        for index in 0..<5 {
            for _ in 0..<3 {
                try device.arm(index, registers)
                _ = try device.raise(index, registers)
                registers.throttleEnds()
                try device.acknowledge(index, registers)
            }
        }
        #expect(registers.state.withLock { $0.messages } == (0..<5).flatMap { [$0, $0, $0] })
        try device.quiesce(registers)
        registers.throttleEnds()
        #expect(registers.state.withLock { $0.messages.count } == 15)
    }

    @Test(
        "e1000e: a raise that took as long as the throttle interval may be two", arguments: [0, 15_000_000, 17_000_000])
    func e1000eSlowly(nanoseconds: UInt64) throws {
        let registers = ModelRegisters(.e1000e)
        let clock = Lock<UInt64>(0)
        // Each look at the clock takes this long.
        let device = IntelE1000eDevice {
            clock.withLock { now in
                now &+= max(nanoseconds, 1000)
                return now
            }
        }
        try device.arm(0, registers)
        #expect(try device.raise(0, registers) == (nanoseconds == 17_000_000 ? 2 : 1))
    }

    @Test("e1000e: a cause left over from before is gone after prepare")
    func e1000eLeftover() throws {
        let registers = ModelRegisters(.e1000e)
        registers.state.withLock { ($0.cause, $0.mask, $0.throttled) = (.max, .max, [0, 4]) }
        let device = try #require(testDevice(vendorID: 0x8086, deviceID: 0x10d3))
        try device.prepare(.msix, registers)
        registers.throttleEnds()
        #expect(registers.state.withLock { $0.messages }.isEmpty)
    }

    @Test("edu: a raise asserts the line, an acknowledge takes it away")
    func edu() throws {
        let registers = ModelRegisters(.edu)
        registers.state.withLock { ($0.cause, $0.line) = (0x101, true) }
        let device = try #require(testDevice(vendorID: 0x1234, deviceID: 0x11e8))
        try device.prepare(.legacy, registers)
        #expect(!registers.state.withLock { $0.line })
        #expect(try device.raise(0, registers) == 1)
        #expect(registers.state.withLock { $0.line })
        try device.acknowledge(0, registers)
        #expect(!registers.state.withLock { $0.line })
        #expect(registers.state.withLock { $0.messages.count } == 1)
    }

    @Test("a device that is no test device has no raiser of its own")
    func unknown() {
        #expect(testDevice(vendorID: 0x8086, deviceID: 0x10d4) == nil)
    }
}
