import CLinux
import InterruptSources
import LinuxSystem
import SystemPackage
import TestSupport
import Testing
import VFIO
import VFIOInterrupts

@Suite("VFIO interrupt sources")
struct VFIOInterruptTests {
    @Test("a device has a source for each type it has, as large as VFIO says")
    func sources() throws {
        let interrupts = VFIOInterrupts(try DeviceSetup(.init(intxCount: 1, msixCount: 2048)).open())
        let line = try #require(try interrupts.source(.legacy))
        #expect(line.type == .legacy && line.count == 1 && !line.growsWhileEnabled)
        #expect(try interrupts.source(.msi) == nil)
        let table = try #require(try interrupts.source(.msix))
        #expect(table.count == 2048 && table.growsWhileEnabled)
    }

    @Test(
        "a count that PCI does not allow is refused, whoever came up with it",
        arguments: [1 << 31, UInt32.max, 2049])
    func hostileCounts(_ count: UInt32) throws {
        let configuration = FakeVFIODevice.Configuration(intxCount: count, msiCount: count, msixCount: count)
        let interrupts = VFIOInterrupts(try DeviceSetup(configuration).open())
        for type in InterruptType.allCases {
            #expect(throws: InterruptError.invalidCount(type, Int(count))) { try interrupts.source(type) }
        }
    }

    @Test("an MSI count that is no power of two is refused")
    func oddBlock() throws {
        let interrupts = VFIOInterrupts(try DeviceSetup(.init(msiCount: 12)).open())
        #expect(throws: InterruptError.invalidCount(.msi, 12)) { try interrupts.source(.msi) }
    }

    @Test("one type at a time, and what is off can be turned off")
    func oneType() throws {
        let setup = DeviceSetup(.init(intxCount: 1, msiCount: 1))
        let interrupts = VFIOInterrupts(try setup.open())
        let line = try #require(try interrupts.source(.legacy))
        let block = try #require(try interrupts.source(.msi))
        setup.kernel.forgetCalls()
        try line.disable()
        #expect(throws: InterruptError.notEnabled) { try line.setLineMasked(true) }
        #expect(throws: InterruptError.notEnabled) { try line.trigger(first: 0, count: 1) }
        #expect(throws: InterruptError.notEnabled) { try line.connect(first: 0, [nil]) }
        #expect(setup.kernel.calls.isEmpty)

        let eventfd = try EventFD()
        try line.enable([eventfd])
        #expect(setup.fake.activeIndex == 0)
        #expect(throws: InterruptError.otherTypeActive) { try block.enable([eventfd]) }
        #expect(throws: InterruptError.alreadyEnabled) { try line.enable([eventfd]) }
        #expect(throws: InterruptError.notEnabled) { try block.trigger(first: 0, count: 1) }
        try block.disable()
        #expect(setup.fake.activeIndex == 0)
        try line.disable()
        try block.enable([eventfd])
        #expect(setup.fake.activeIndex == 1)
        #expect(throws: InterruptError.notLevelTriggered) { try block.setLineMasked(true) }
        #expect(throws: InterruptError.notLevelTriggered) { try block.setUnmaskNotifier(nil) }
        #expect(throws: InterruptError.notLevelTriggered) { try block.isLineAsserted() }
    }

    @Test("vectors beyond the count are refused and never reach the kernel")
    func bounds() throws {
        let setup = DeviceSetup(.init(msixCount: 4))
        let table = try #require(try VFIOInterrupts(try setup.open()).source(.msix))
        try table.enable([nil])
        setup.kernel.forgetCalls()
        #expect(throws: InterruptError.noSuchVector(index: 4, count: 4)) { try table.connect(first: 4, [nil]) }
        #expect(throws: InterruptError.noSuchVector(index: 4, count: 4)) { try table.connect(first: 3, [nil, nil]) }
        #expect(throws: InterruptError.noSuchVector(index: -1, count: 4)) { try table.trigger(first: -1, count: 1) }
        #expect(throws: InterruptError.noSuchVector(index: 4, count: 4)) {
            try table.trigger(first: 0, count: .max)
        }
        try table.connect(first: 0, [])
        try table.trigger(first: 0, count: 0)
        #expect(setup.kernel.calls.isEmpty)
    }

    @Test("a positive result is exhaustion: how many could be had, and nothing is on")
    func positive() throws {
        var configuration = FakeVFIODevice.Configuration(msiCount: 16)
        configuration.allocatable = 1
        let setup = DeviceSetup(configuration)
        let block = try #require(try VFIOInterrupts(try setup.open()).source(.msi))
        let notifiers = try (0..<16).map { _ in try EventFD() }
        #expect(throws: InterruptError.hostExhausted(asked: 16, available: 1)) { try block.enable(notifiers) }
        #expect(setup.fake.activeIndex == nil)
        try block.enable([notifiers[0]])
        try block.trigger(first: 0, count: 1)
        #expect(notifiers[0].drain() == 1)
    }

    @Test("ENOSPC is exhaustion: how many could be had, and none of the range is connected", arguments: [true, false])
    func noSpace(_ isDynamic: Bool) throws {
        var configuration = FakeVFIODevice.Configuration(msixCount: 64)
        configuration.isLinux6dot5 = isDynamic
        let setup = DeviceSetup(configuration, vfio: FakeVFIO(hostVectors: 10))
        let table = try #require(try VFIOInterrupts(try setup.open()).source(.msix))
        let notifiers: [EventFD?] = try (0..<64).map { _ in try EventFD() }
        #expect(throws: InterruptError.hostExhausted(asked: 64, available: 10)) { try table.enable(notifiers) }
        #expect(setup.fake.activeIndex == nil)
        #expect(setup.vfio.hostVectors == 10)

        try table.enable(Array(repeating: nil, count: 64))
        try table.connect(first: 60, Array(notifiers.suffix(4)))
        #expect(throws: InterruptError.hostExhausted(asked: 20, available: 6)) {
            try table.connect(first: 0, Array(notifiers.prefix(20)))
        }
        #expect(setup.fake.wiredVectors == [60, 61, 62, 63])
        try table.connect(first: 0, Array(notifiers.prefix(6)))
        #expect(setup.vfio.hostVectors == 0)
    }

    @Test("where an enable failed, another type can be turned on, whatever call was refused while room was sought")
    func leftOn() throws {
        var stayedOn = 0
        for call in 1..<20 {
            let configuration = FakeVFIODevice.Configuration(intxCount: 1, msixCount: 8)
            let setup = DeviceSetup(configuration, vfio: FakeVFIO(hostVectors: 4))
            let interrupts = VFIOInterrupts(try setup.open())
            let table = try #require(try interrupts.source(.msix))
            let notifiers: [EventFD?] = try (0..<8).map { _ in try EventFD() }
            setup.kernel.forgetCalls()
            setup.kernel.refuse(calls: call..<call + 1, with: .noMemory)
            #expect(throws: InterruptError.self) { try table.enable(notifiers) }
            setup.kernel.forgetCalls()
            if setup.fake.activeIndex != nil { stayedOn += 1 }
            try #require(try interrupts.source(.legacy)).enable([notifiers[0]])
            #expect(setup.fake.activeIndex == 0)
            #expect(setup.vfio.hostVectors == 4)
        }
        #expect(stayedOn == 1)
    }

    @Test("other errors of the kernel keep their errno")
    func errno() throws {
        let setup = DeviceSetup(.init(msixCount: 4))
        let table = try #require(try VFIOInterrupts(try setup.open()).source(.msix))
        setup.kernel.refuse("VFIO_DEVICE_SET_IRQS", with: .noMemory)
        let refused = KernelError("VFIO_DEVICE_SET_IRQS", on: "told to refuse", .noMemory)
        #expect(throws: InterruptError.kernel(refused)) { try table.enable([nil]) }
        try table.enable([nil])
        setup.kernel.refuse("VFIO_DEVICE_SET_IRQS", with: .ioError)
        #expect(throws: InterruptError.self) { try table.disable() }
        // Still on, so it can be turned off.
        try table.disable()
        #expect(setup.fake.activeIndex == nil)
    }

    // MARK: The group over a device

    @Test("a table of 2,048 is walked in windows, each vector arriving once and on its own", arguments: [true, false])
    func selfTestWindows(_ isDynamic: Bool) throws {
        var configuration = FakeVFIODevice.Configuration(msixCount: 2048)
        configuration.isLinux6dot5 = isDynamic
        let setup = DeviceSetup(configuration, vfio: FakeVFIO(hostVectors: 392))
        let source = try #require(try VFIOInterrupts(try setup.open()).source(.msix))
        let group = try InterruptSourceGroup(source: source, sink: nil)
        try group.enable(Array(repeating: InterruptConfiguration(startsMasked: true), count: 2048))
        #expect(setup.fake.activeIndex == 2)
        #expect(setup.vfio.hostVectors == 392)

        var first = 0
        var size = 500
        var arrived = 0
        while first < 2048 {
            let window = first..<min(first + size, 2048)
            if let available = try roomToUnmask(window, group) {
                size = available
                try #require(size > 0)
                continue
            }
            #expect(setup.fake.wiredVectors == Array(window))
            for index in window { try group.trigger(index) }
            for index in window where try group.notifier(index)?.drain() == 1 { arrived += 1 }
            try group.mask(window, releasing: true)
            first = window.upperBound
        }
        #expect(size == 392)
        #expect(arrived == 2048)
        #expect(setup.vfio.hostVectors == 392)
        group.destroy()
        #expect(setup.fake.activeIndex == nil)
    }

    private func roomToUnmask(_ window: Range<Int>, _ group: InterruptSourceGroup) throws -> Int? {
        do throws(InterruptError) {
            try group.unmask(window)
            return nil
        } catch {
            guard case .hostExhausted(_, let available) = error else { throw error }
            return available
        }
    }

    @Test("a line goes through mask, guest's EOI and unmask without losing or inventing a level")
    func line() throws {
        let setup = DeviceSetup(.init(intxCount: 1))
        let source = try #require(try VFIOInterrupts(try setup.open()).source(.legacy))
        let group = try InterruptSourceGroup(source: source, sink: nil)
        let notifier = try #require(try group.notifier(0))
        let resample = try #require(try group.resampleNotifier())
        setup.fake.setLine(asserted: true)
        try group.enable()
        // Asserted before it was turned on.
        #expect(notifier.drain() > 0)
        try resample.signal()
        setup.fake.settle()
        #expect(notifier.drain() == 1)
        setup.fake.setLine(asserted: false)
        try resample.signal()
        setup.fake.settle()
        #expect(notifier.drain() == 0)

        try group.mask(0)
        setup.fake.setLine(asserted: true)
        #expect(notifier.drain() == 0)
        #expect(try group.pendingState(0))
        try group.unmask(0)
        #expect(notifier.drain() == 1)
        #expect(try group.pendingState(0) == false)
        try group.disable()
        #expect(setup.fake.activeIndex == nil)
        try group.enable([InterruptConfiguration(startsMasked: true)])
        #expect(notifier.drain() == 0)
        try group.unmask(0)
        #expect(notifier.drain() == 1)
    }

    @Test("T9: command bit 10 holds beside the group's mask: nothing arrives behind either, no level is lost")
    func lineDisabled() throws {
        let setup = DeviceSetup(.init(intxCount: 1))
        let device = try setup.open()
        let source = try #require(try VFIOInterrupts(device).source(.legacy))
        let group = try InterruptSourceGroup(source: source, sink: nil)
        let notifier = try #require(try group.notifier(0))
        let resample = try #require(try group.resampleNotifier())
        let configuration = try device.region(.configuration)
        func setDisabled(_ disabled: Bool) throws {
            try configuration.store(disabled ? UInt16(PCI_COMMAND_INTX_DISABLE) : 0, at: UInt64(PCI_COMMAND))
        }
        func handle() throws {
            setup.fake.setLine(asserted: false)
            try resample.signal()
            setup.fake.settle()
        }
        try group.enable()

        // Disabled: neither the device nor an EOI nor a trigger reaches the guest.
        try setDisabled(true)
        setup.fake.setLine(asserted: true)
        try resample.signal()
        setup.fake.settle()
        try group.trigger(0)
        #expect(notifier.drain() == 0)
        try setDisabled(false)
        #expect(notifier.drain() == 1)
        try handle()
        #expect(notifier.drain() == 0)

        // Masked: the guest's bit goes up and down, which lifts the host's mask, and the mask of the group holds.
        try group.mask(0)
        try setDisabled(true)
        setup.fake.setLine(asserted: true)
        #expect(try group.pendingState(0) == false)
        try setDisabled(false)
        #expect(try group.pendingState(0))
        #expect(notifier.drain() == 0)
        try group.unmask(0)
        #expect(notifier.drain() == 1)
        try handle()

        // Unmasked behind the guest's bit: it arrives when the bit is cleared.
        try group.mask(0)
        setup.fake.setLine(asserted: true)
        try setDisabled(true)
        try group.unmask(0)
        #expect(notifier.drain() == 0)
        try setDisabled(false)
        #expect(notifier.drain() == 1)
        try handle()
        #expect(notifier.drain() == 0)
        #expect(!setup.fake.isLineMasked)
    }

    @Test("each kernel call of each operation fails once, and the device is as before", arguments: [true, false])
    func undo(_ isDynamic: Bool) throws {
        var configuration = FakeVFIODevice.Configuration(msixCount: 8)
        configuration.isLinux6dot5 = isDynamic
        var failed = 0
        while true {
            let setup = DeviceSetup(configuration)
            let source = try #require(try VFIOInterrupts(try setup.open()).source(.msix))
            let group = try InterruptSourceGroup(source: source, sink: nil)
            setup.kernel.refuse("VFIO_DEVICE_SET_IRQS", with: .ioError, after: failed)
            let operations: [() throws -> Void] = [
                { try group.enable(Array(repeating: InterruptConfiguration(startsMasked: true), count: 8)) },
                { try group.unmask(0..<4) }, { try group.mask(1..<3) }, { try group.unmask(2..<6) },
                { try group.mask(0..<6, releasing: true) }, { try group.disable() },
            ]
            var failures = 0
            for operation in operations {
                let (wired, active) = (setup.fake.wiredVectors, setup.fake.activeIndex)
                do {
                    try operation()
                } catch {
                    failures += 1
                    #expect(setup.fake.wiredVectors == wired)
                    #expect(setup.fake.activeIndex == active)
                    try operation()
                }
            }
            #expect(setup.fake.activeIndex == nil)
            #expect(setup.vfio.hostVectors == 1000)
            if failures == 0 { break }
            failed += 1
        }
        #expect(failed > 5)
    }
}
