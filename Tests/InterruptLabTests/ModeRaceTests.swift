import InterruptSources
import LinuxSystem
import TestSupport
import Testing
import VFIOInterrupts

@testable import Passthrough

/// T5: a device that raises as fast as it can, while its interrupts are switched between INTx, MSI and MSI-X.
@Suite("T5: races of mode switches", .enabled(if: Requirements.kvm, "needs /dev/kvm"), .serialized)
struct ModeRaceTests {
    /// A device that has more than one type.
    enum Device: String, CaseIterable, Sendable {
        case software, edu, e1000e
        static let here = Requirements.vfioLab ? allCases : [.software]
    }

    @Test("T5: against switches between INTx, MSI and MSI-X", arguments: Device.here)
    func switches(_ device: Device) throws { try onSoundGuest { try race(device) } }

    private func race(_ device: Device) throws {
        let bench = try ModeBench(device)
        let interrupts = bench.interrupts
        let types = interrupts.types
        let raiser = try FreeRaiser(bench, [0])
        try TestLength.race(60) { round in
            // Every order of two types comes up: a switch to the type itself would be none.
            let type = types[(round + round / types.count) % types.count]
            if interrupts.workingType == type { try interrupts.switchTo(nil) }
            try interrupts.switchTo(type, bench.configurations(type))
            #expect(interrupts.workingType == type)
            try raiser.pausing { try bench.guest.fence() }
            let before = types.map(bench.deliveries)
            try raiser.wait(for: 3)
            if bench.isSure(type) {
                let old = before[types.firstIndex(of: type) ?? 0]
                try bench.guest.expect("nothing on \(type)") { bench.deliveries(type) != old }
            }
            try raiser.pausing { try bench.guest.fence() }
            for (index, other) in types.enumerated() where other != type {
                #expect(bench.deliveries(other) == before[index], "\(other) delivered, \(type) is on")
            }
            let messages = types.filter { $0 != .legacy }.reduce(0) { $0 + bench.deliveries($1) }
            #expect(messages <= (try raiser.most))
            #expect(Int(bench.guest.served(0)) <= (try raiser.most))
        }
        try raiser.stop()
        try bench.quiesce()
        for type in types {
            if interrupts.workingType != type { try interrupts.switchTo(type, bench.configurations(type)) }
            try bench.settle()
            for _ in 0..<5 { try bench.expectOne(type) }
        }
        try interrupts.switchTo(nil)
        let total = types.map(bench.deliveries)
        try bench.raise(0)
        try bench.quiesce()
        try bench.guest.fence()
        #expect(types.map(bench.deliveries) == total)
        interrupts.destroy()
        #expect(bench.guest.kernel.routes <= 40)
    }
}

/// A device with all its types, whose interrupts go into one guest.
private final class ModeBench: Raiser {
    let guest: CountingGuest
    let interrupts: DeviceInterrupts
    private let device: ModeRaceTests.Device
    private let software: VirtualInterrupts?
    private let registers: RegisterRaiser?

    init(_ device: ModeRaceTests.Device) throws {
        self.device = device
        guard device != .software else {
            let virtual = try VirtualInterrupts([.legacy: 1, .msi: 4, .msix: 8])
            let sources = InterruptType.allCases.compactMap { virtual.source($0) }
            guest = try CountingGuest(vcpus: 1)
            interrupts = try DeviceInterrupts(sources, sink: guest.sink, pin: CountingGuest.pin)
            (software, registers) = (virtual, nil)
            return
        }
        let opened = try (device == .edu ? LabDevice.edu : .e1000e).open()
        guest = try CountingGuest(vcpus: 1, registers: device == .edu ? [try opened.registers()] : [])
        let vfio = VFIOInterrupts(opened)
        interrupts = try DeviceInterrupts(
            try InterruptType.allCases.compactMap { try vfio.source($0) }, sink: guest.sink, pin: CountingGuest.pin)
        software = nil
        // As a level, which stays until edu's handler in the guest takes it away; e1000e's goes by itself.
        registers = try RegisterRaiser(device == .edu ? EduDevice() : AnyTypeE1000e(), opened, .legacy)
    }

    deinit { interrupts.destroy() }

    /// Raises whatever type is on.
    @discardableResult func raise(_ vector: Int) throws -> Int {
        guard let software else { return try registers?.raise(vector) ?? 0 }
        software.raise(vector)
        software.setLine(asserted: true)
        software.setLine(asserted: false)
        software.endOfInterrupt()
        return 1
    }

    /// Takes away what nobody handled.
    func quiesce() throws {
        try registers?.withdraw()
        software?.endOfInterrupt()
    }

    /// Whether each raise of this type is delivered. A level that is gone before anybody looked never was.
    func isSure(_ type: InterruptType) -> Bool { type != .legacy || device == .edu }

    func configurations(_ type: InterruptType) -> [InterruptConfiguration] {
        if type == .legacy { return [InterruptConfiguration()] }
        let count = type == .msi ? (device == .software ? 4 : 1) : (device == .software ? 8 : 5)
        return (0..<count).map { InterruptConfiguration(message: guest.message(firstSlot(type) + $0)) }
    }

    /// How often interrupts of this type were delivered.
    func deliveries(_ type: InterruptType) -> Int {
        if type == .legacy { return Int(guest.line) }
        return (firstSlot(type)..<firstSlot(type) + 32).reduce(0) { $0 + Int(guest.count($1)) }
    }

    /// Waits until nothing is on its way any more.
    func settle() throws {
        var quiet = 0
        while quiet < 100 {
            let before = InterruptType.allCases.map(deliveries)
            try guest.fence()
            software?.endOfInterrupt()
            quiet = InterruptType.allCases.map(deliveries) == before ? quiet + 1 : 0
        }
    }

    /// Raises one interrupt in lock-step: by the device, or by VFIO's loopback where the device's would go by itself.
    func expectOne(_ type: InterruptType) throws {
        let before = InterruptType.allCases.map(deliveries)
        var messages = 1
        if isSure(type) { messages = try raise(0) } else { try #require(interrupts.group(type)).trigger(0) }
        let place = try #require(InterruptType.allCases.firstIndex(of: type))
        try guest.expect("nothing on \(type)") { deliveries(type) != before[place] }
        try settle()
        let delivered = deliveries(type) - before[place]
        #expect((1...messages).contains(delivered))
        var expected = before
        expected[place] += delivered
        #expect(InterruptType.allCases.map(deliveries) == expected)
    }

    private func firstSlot(_ type: InterruptType) -> Int { type == .msi ? 32 : 64 }
}

/// Intel's 82574 with a throttle interval also for INTx and MSI (ITR, datasheet section 10.2.4.2), as long as it can be:
/// a model of it repeats the message when the interval ends.
private struct AnyTypeE1000e: TestDevice {
    private let device = IntelE1000eDevice()

    let types = InterruptType.allCases

    func vectors(of type: InterruptType) -> Int { 1 }

    func prepare(_ type: InterruptType, _ registers: any DeviceRegisters) throws(KernelError) {
        try device.prepare(type, registers)
    }

    func arm(_ index: Int, _ registers: any DeviceRegisters) throws(KernelError) {
        try device.arm(index, registers)
        try registers.write32(0xffff, bar: 0, at: 0xc4)
    }

    func raise(_ index: Int, _ registers: any DeviceRegisters) throws(KernelError) -> Int {
        try device.raise(index, registers)
    }

    func acknowledge(_ index: Int, _ registers: any DeviceRegisters) throws(KernelError) {
        try device.acknowledge(index, registers)
    }

    func quiesce(_ registers: any DeviceRegisters) throws(KernelError) { try device.quiesce(registers) }
}
