import InterruptSources
import LinuxSystem
import TestSupport
import Testing

/// A virtual device with all three types, as its guest drives it.
private struct GuestDevice {
    static let pin = 11
    let device: VirtualInterrupts
    let calls = ScriptedCalls()
    let sink: FakeInterruptSink
    let guest: EmulatedInterrupts
    let hasLine: Bool

    init(hasLine: Bool = true) throws {
        self.hasLine = hasLine
        var counts: [InterruptType: Int] = [.msi: 4, .msix: 8]
        if hasLine { counts[.legacy] = 1 }
        device = try VirtualInterrupts(counts)
        sink = FakeInterruptSink(calls: calls)
        let sources = InterruptType.allCases.compactMap(device.source)
        let interrupts = try DeviceInterrupts(sources, sink: sink, pin: hasLine ? GuestDevice.pin : nil)
        let (table, pendingBits) = (MSIXLocation(bar: 2, offset: 0), MSIXLocation(bar: 2, offset: 0x800))
        guest = try EmulatedInterrupts(
            interrupts, msi: EmulatedMSI(count: 4, masksVectors: true, at: 0x50, next: 0x70),
            msix: EmulatedMSIX(
                count: 8, table: try #require(table), pendingBits: try #require(pendingBits), at: 0x70))
    }

    var interrupts: DeviceInterrupts { guest.interrupts }

    func read(_ count: Int, at offset: UInt64) -> UInt64 {
        EmulatedAccess.read(count) { guest.readConfiguration(at: offset, into: &$0) }.value
    }

    func write(_ value: UInt64, _ width: Int, at offset: UInt64) throws {
        try guest.writeConfiguration(EmulatedAccess.bytes(value, width).span, at: offset)
    }

    func readTable(_ count: Int, at offset: UInt64) -> UInt64 {
        EmulatedAccess.read(count) { guest.read(bar: 2, at: offset, into: &$0) }.value
    }

    func writeTable(_ value: UInt64, _ width: Int, at offset: UInt64) throws {
        try guest.write(EmulatedAccess.bytes(value, width).span, bar: 2, at: offset)
    }

    /// Writes MSI's message and turns MSI on as a block of two.
    func enableMSI(data: UInt64 = 0x40) throws {
        try write(0xfee0_0000, 4, at: 0x54)
        try write(data, 2, at: 0x5c)
        try write(1 << 4 | 1, 2, at: 0x52)
    }

    func enableMSIX(_ enabled: Bool) throws { try write(enabled ? 0x8000 : 0, 2, at: 0x72) }

    /// Writes the message of an entry and unmasks it.
    func openEntry(_ index: UInt64, data: UInt64) throws {
        try writeTable(0xfee0_0000, 8, at: 16 * index)
        try writeTable(data, 4, at: 16 * index + 8)
        try writeTable(0, 4, at: 16 * index + 12)
    }

    /// What the guest reads of what works.
    var readType: InterruptType? {
        if read(2, at: 0x72) & 0x8000 != 0 { return .msix }
        if read(2, at: 0x52) & 1 != 0 { return .msi }
        return hasLine ? .legacy : nil
    }

    /// The messages that arrived since the last call, by data, and the line as -1.
    func arrivals() -> [Int: Int] {
        let routes = sink.routes
        return sink.deliveries().reduce(into: [:]) { arrivals, delivery in
            guard case .message(let message)? = routes[delivery.key] else { return arrivals[-1] = delivery.value }
            arrivals[Int(message.data)] = delivery.value
        }
    }
}

@Suite("A guest's interrupts over the owner of a device's groups")
struct EmulatedInterruptsTests {
    @Test("MSI-X goes before MSI, and MSI before INTx, in whatever order a guest turns them on and off")
    func modes() throws {
        let device = try GuestDevice()
        #expect(device.interrupts.workingType == .legacy)
        device.device.setLine(asserted: true)
        #expect(device.arrivals() == [-1: 1])
        device.device.setLine(asserted: false)
        device.sink.endOfInterrupt(GuestDevice.pin)
        device.device.endOfInterrupt()

        try device.enableMSI()
        #expect(device.interrupts.workingType == .msi)
        device.device.raise(1)
        #expect(device.arrivals() == [0x41: 1])

        try device.openEntry(5, data: 0x65)
        try device.enableMSIX(true)
        #expect(device.interrupts.workingType == .msix)
        device.device.raise(5)
        #expect(device.arrivals() == [0x65: 1])

        // MSI changes behind MSI-X, and is what it was changed to when it comes back.
        try device.write(0x50, 2, at: 0x5c)
        try device.write(0b10, 1, at: 0x60)
        #expect(device.interrupts.workingType == .msix)
        try device.enableMSIX(false)
        #expect(device.interrupts.workingType == .msi)
        device.device.raise(0)
        device.device.raise(1)
        #expect(device.arrivals() == [0x50: 1])
        #expect(device.read(4, at: 0x64) == 0b10)
        try device.write(0, 1, at: 0x60)
        #expect(device.arrivals() == [0x51: 1])

        // A level that came while messages were on.
        device.device.setLine(asserted: true)
        #expect(device.arrivals().isEmpty)
        try device.write(0, 2, at: 0x52)
        #expect(device.interrupts.workingType == .legacy)
        #expect(device.arrivals() == [-1: 1])
    }

    @Test("MSI turned on and off behind MSI-X changes nothing")
    func behind() throws {
        let device = try GuestDevice()
        try device.enableMSIX(true)
        device.calls.restart()
        try device.enableMSI()
        try device.write(0, 2, at: 0x52)
        #expect(device.calls.names.isEmpty)
        #expect(device.interrupts.workingType == .msix)
        try device.enableMSIX(false)
        #expect(device.interrupts.workingType == .legacy)
    }

    @Test("a function without INTx has nothing on when messages are off")
    func noLine() throws {
        let device = try GuestDevice(hasLine: false)
        #expect(device.interrupts.workingType == nil)
        try device.enableMSIX(true)
        #expect(device.interrupts.workingType == .msix)
        try device.enableMSIX(false)
        #expect(device.interrupts.workingType == nil)
    }

    @Test("the Pending Bit Array is the group's, and what it shows arrives once on unmask")
    func pendingBits() throws {
        let device = try GuestDevice()
        try device.openEntry(3, data: 0x43)
        try device.enableMSIX(true)
        try device.writeTable(1, 4, at: 3 * 16 + 12)
        device.device.raise(3)
        device.device.raise(3)
        #expect(device.arrivals().isEmpty)
        #expect(device.readTable(8, at: 0x800) == 0b1000)
        #expect(device.readTable(4, at: 3 * 16 + 8) == 0x43)
        try device.writeTable(0, 4, at: 3 * 16 + 12)
        #expect(device.arrivals() == [0x43: 1])
        #expect(device.readTable(8, at: 0x800) == 0)
        #expect(device.guest.covers(bar: 2, at: 0x7f, count: 1) && !device.guest.covers(bar: 2, at: 0x80, count: 8))
    }

    @Test("a reset puts the capabilities back and INTx on")
    func reset() throws {
        let device = try GuestDevice()
        let fresh = device.read(8, at: 0x70)
        try device.openEntry(0, data: 0x40)
        try device.enableMSIX(true)
        try device.enableMSI()
        try device.guest.reset()
        #expect(device.interrupts.workingType == .legacy)
        #expect(device.read(8, at: 0x70) == fresh && device.read(2, at: 0x52) & 1 == 0)
        #expect(device.readTable(4, at: 12) == 1)
        #expect(device.sink.routes.allSatisfy { $0.value == .pin })
    }

    @Test("T3: whichever call of the kernel fails, what the guest reads is what works", arguments: [true, false])
    func refused(_ hasLine: Bool) throws {
        let writes: [(GuestDevice) throws -> Void] = [
            { try $0.enableMSI() }, { try $0.write(0b01, 1, at: 0x60) }, { try $0.openEntry(2, data: 0x42) },
            { try $0.enableMSIX(true) }, { try $0.openEntry(6, data: 0x46) }, { try $0.write(0xc0, 1, at: 0x73) },
            { try $0.enableMSIX(false) }, { try $0.write(0, 2, at: 0x52) },
        ]
        var failed = 0
        for failing in 0..<60 {
            let device = try GuestDevice(hasLine: hasLine)
            device.calls.restart(failing: failing)
            for write in writes {
                do {
                    try write(device)
                    #expect(device.interrupts.workingType == device.readType)
                } catch {
                    failed += 1
                    // Messages that the guest turned off are off, also where the line cannot take their place.
                    let working = device.interrupts.workingType
                    #expect(working == device.readType || working == nil && device.readType == .legacy)
                }
                guard device.readType == .msix else { continue }
                let vectors = try #require(device.interrupts.group(.msix)).snapshot().vectors
                let functionMask = device.read(2, at: 0x72) & 0x4000 != 0
                for vector in vectors {
                    let entryMask = device.readTable(4, at: UInt64(16 * vector.index + 12)) & 1 == 1
                    #expect(vector.isMasked == (functionMask || entryMask))
                }
            }
        }
        #expect(failed > 8)
    }
}
