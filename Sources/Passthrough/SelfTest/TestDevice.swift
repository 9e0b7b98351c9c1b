import InterruptSources
import LinuxSystem

/// A device that a self-test can make raise its own interrupts, by its registers.
///
/// Only devices whose registers are documented and whose interrupt a register write raises belong here.
protocol TestDevice: Sendable {
    /// The types it can raise this way.
    var types: [InterruptType] { get }

    /// How many vectors of `type` it can raise, from 0.
    func vectors(of type: InterruptType) -> Int

    /// Brings it into a state in which nothing but ``raise(_:)`` raises an interrupt.
    func prepare(_ type: InterruptType, _ registers: any DeviceRegisters) throws(KernelError)

    /// Makes vector `index` ready for one raise; not part of the measured latency.
    func arm(_ index: Int, _ registers: any DeviceRegisters) throws(KernelError)

    /// Raises vector `index` once. Returns how many messages the device may have sent for it: 1, or more where the raise
    /// took so long that the device repeated it.
    func raise(_ index: Int, _ registers: any DeviceRegisters) throws(KernelError) -> Int

    /// Takes the cause away, so that a level goes low and the next raise is a new one.
    func acknowledge(_ index: Int, _ registers: any DeviceRegisters) throws(KernelError)

    /// Leaves it quiet.
    func quiesce(_ registers: any DeviceRegisters) throws(KernelError)
}

/// The known test device with these PCI ids, or nil.
func testDevice(vendorID: UInt16, deviceID: UInt16) -> (any TestDevice)? {
    switch (vendorID, deviceID) {
    case (0x1234, 0x11e8): EduDevice()
    case (0x8086, 0x10d3): IntelE1000eDevice()
    default: nil
    }
}

/// QEMU's educational device (QEMU documentation, specs/edu): a register write raises its interrupt, another takes it
/// away.
struct EduDevice: TestDevice {
    private static let interruptStatus: UInt64 = 0x24
    private static let interruptRaise: UInt64 = 0x60
    private static let interruptAcknowledge: UInt64 = 0x64

    let types: [InterruptType] = [.legacy, .msi]

    func vectors(of type: InterruptType) -> Int { types.contains(type) ? 1 : 0 }

    func prepare(_ type: InterruptType, _ registers: any DeviceRegisters) throws(KernelError) {
        try registers.enableBusMaster()
        try quiesce(registers)
    }

    func arm(_ index: Int, _ registers: any DeviceRegisters) throws(KernelError) {}

    func raise(_ index: Int, _ registers: any DeviceRegisters) throws(KernelError) -> Int {
        try registers.write32(1, bar: 0, at: EduDevice.interruptRaise)
        return 1
    }

    func acknowledge(_ index: Int, _ registers: any DeviceRegisters) throws(KernelError) {
        try registers.write32(1, bar: 0, at: EduDevice.interruptAcknowledge)
    }

    func quiesce(_ registers: any DeviceRegisters) throws(KernelError) {
        let pending = try registers.read32(bar: 0, at: EduDevice.interruptStatus)
        try registers.write32(pending, bar: 0, at: EduDevice.interruptAcknowledge)
    }
}

/// Intel 82574 (datasheet sections 7.4 and 10.2.4): five MSI-X vectors, each raised by one cause of the Interrupt
/// Cause Set register.
///
/// The device keeps a throttle interval for each vector, and a model of it (QEMU 10) repeats the message when the
/// interval ends, whether a cause is left or not. So the interval is made as long as it can be, and each raise ends
/// with a reset of the device, which stops it. Where the processor was taken from us in between, the interval may have
/// ended first.
struct IntelE1000eDevice: TestDevice {
    /// Monotonic nanoseconds.
    var now: @Sendable () -> UInt64 = { monotonicNanoseconds() }

    private enum Register {
        static let control: UInt64 = 0x00  // CTRL
        static let cause: UInt64 = 0xc0  // ICR
        static let causeSet: UInt64 = 0xc8  // ICS
        static let maskSet: UInt64 = 0xd0  // IMS
        static let maskClear: UInt64 = 0xd8  // IMC
        static let vectorAllocation: UInt64 = 0xe4  // IVAR
        static let firstThrottle: UInt64 = 0xe8  // EITR, one for each vector
    }
    // ICR bits 20 to 24: receive queues 0 and 1, transmit queues 0 and 1, other. Vector i gets cause i.
    private static let firstCause: UInt32 = 1 << 20
    private static let causes = 5
    private static let deviceReset: UInt32 = 1 << 26  // CTRL.RST
    private static let longestThrottle: UInt32 = 0xffff  // of 256 ns
    // With a margin: the device's clock is not ours.
    private static let surelyThrottledNanoseconds = UInt64(longestThrottle) * 256 / 10 * 9
    // Registers may be used one millisecond after a reset (datasheet section 4.6).
    private static let resetNanoseconds: UInt64 = 1_000_000

    let types: [InterruptType] = [.msix]

    func vectors(of type: InterruptType) -> Int { type == .msix ? IntelE1000eDevice.causes : 0 }

    func prepare(_ type: InterruptType, _ registers: any DeviceRegisters) throws(KernelError) {
        try registers.enableBusMaster()
        try quiesce(registers)
    }

    func arm(_ index: Int, _ registers: any DeviceRegisters) throws(KernelError) {
        let ready = now() &+ IntelE1000eDevice.resetNanoseconds
        while now() < ready {}
        try registers.write32(.max, bar: 0, at: Register.maskClear)
        try registers.write32(.max, bar: 0, at: Register.cause)
        // Four bits a cause: the vector's number, and the valid bit above it.
        var allocation: UInt32 = 0
        for vector in 0..<UInt32(IntelE1000eDevice.causes) {
            allocation |= (vector | 0x8) << (4 * vector)
        }
        try registers.write32(allocation, bar: 0, at: Register.vectorAllocation)
        try registers.write32(
            IntelE1000eDevice.longestThrottle, bar: 0, at: Register.firstThrottle + 4 * UInt64(index))
        try registers.write32(IntelE1000eDevice.firstCause << UInt32(index), bar: 0, at: Register.maskSet)
    }

    func raise(_ index: Int, _ registers: any DeviceRegisters) throws(KernelError) -> Int {
        let start = now()
        try registers.write32(IntelE1000eDevice.firstCause << UInt32(index), bar: 0, at: Register.causeSet)
        try registers.write32(IntelE1000eDevice.deviceReset, bar: 0, at: Register.control)
        return now() &- start < IntelE1000eDevice.surelyThrottledNanoseconds ? 1 : 2
    }

    func acknowledge(_ index: Int, _ registers: any DeviceRegisters) throws(KernelError) {}

    func quiesce(_ registers: any DeviceRegisters) throws(KernelError) {
        try registers.write32(.max, bar: 0, at: Register.maskClear)
        try registers.write32(IntelE1000eDevice.deviceReset, bar: 0, at: Register.control)
    }
}
