import InterruptSources
import LinuxSystem
import SystemPackage
import TestSupport
import Testing
import VFIO
import VFIOInterrupts

/// A device's working mode over VFIO, which never switches by itself.
@Suite("A VFIO device's working mode")
struct VFIOSwitchTests {
    private struct Standing: Equatable {
        let activeIndex: Int?
        let triggers: [Int: Int]
        let unmask: Int?
        let isLineMasked: Bool
        let hostVectors: Int
        let groups: [InterruptType: InterruptSnapshot]

        init(_ setup: DeviceSetup, _ owner: DeviceInterrupts) {
            activeIndex = setup.fake.activeIndex
            triggers = setup.fake.triggers
            unmask = setup.fake.unmaskNotifier
            isLineMasked = setup.fake.isLineMasked
            hostVectors = setup.vfio.hostVectors
            groups = InterruptType.allCases.reduce(into: [:]) { $0[$1] = owner.group($1)?.snapshot() }
        }
    }

    private func configuration(isDynamic: Bool) -> FakeVFIODevice.Configuration {
        var configuration = FakeVFIODevice.Configuration(intxCount: 1, msiCount: 4, msixCount: 8)
        configuration.isLinux6dot5 = isDynamic
        // The line that is asserted before it is turned on is not seen: the worst of the two.
        configuration.noticesLineWhenEnabled = false
        return configuration
    }

    @Test(
        "T3: each kernel call of each switch fails once, and the device is as before",
        arguments: InterruptType.allCases, [true, false])
    func undo(_ from: InterruptType, _ isDynamic: Bool) throws {
        for to in [nil] + InterruptType.allCases where to != from {
            var failed = 0
            while true {
                let setup = DeviceSetup(configuration(isDynamic: isDynamic))
                let device = try setup.open()
                try device.setBusMaster(true)
                let owner = try DeviceInterrupts(VFIOInterrupts(device).sources(), sink: nil)
                try owner.switchTo(from)
                let group = try #require(owner.group(from))
                let last = group.count - 1
                if last > 0 { try group.mask(last) }
                let before = Standing(setup, owner)
                setup.kernel.refuse("VFIO_DEVICE_SET_IRQS", with: .ioError, after: failed)
                do {
                    try owner.switchTo(to)
                    break
                } catch {}
                #expect(Standing(setup, owner) == before, "call \(failed) of \(from) to \(String(describing: to))")
                failed += 1
                // One raise is one interrupt, and so is one that came while masked.
                if from != .legacy { #expect(setup.fake.raise(last)) }
                if from == .legacy { setup.fake.setLine(asserted: true) }
                #expect(try group.pendingState(last) == (last > 0))
                try group.unmask(last)
                #expect(try group.notifier(last)?.drain() == 1)
                setup.fake.setLine(asserted: false)
                try group.resampleNotifier()?.signal()
                setup.fake.settle()
                try owner.switchTo(to)
                #expect(owner.workingType == to)
            }
            #expect(failed > 0)
        }
    }

    @Test("a level that is asserted while a switch fails is signalled in the old mode")
    func levelDuringFailure() throws {
        let setup = DeviceSetup(configuration(isDynamic: true))
        let owner = try DeviceInterrupts(VFIOInterrupts(try setup.open()).sources(), sink: nil)
        try owner.switchTo(.legacy)
        let group = try #require(owner.group(.legacy))
        let notifier = try #require(try group.notifier(0))
        // The guest is in its handler; turned on again, the line must be looked at, or its EOI would be the last.
        setup.fake.setLine(asserted: true)
        #expect(notifier.drain() == 1)
        setup.kernel.refuse("VFIO_DEVICE_SET_IRQS", with: .ioError, after: 2)
        #expect(throws: InterruptError.self) { try owner.switchTo(.msix) }
        #expect(owner.workingType == .legacy)
        #expect(notifier.drain() > 0)
        setup.fake.setLine(asserted: false)
        try group.resampleNotifier()?.signal()
        setup.fake.settle()
        setup.fake.setLine(asserted: true)
        #expect(notifier.drain() == 1)
    }

    @Test("out of host vectors, the better types say how many there were, and INTx is taken", arguments: [true, false])
    func fallback(_ isDynamic: Bool) throws {
        let setup = DeviceSetup(configuration(isDynamic: isDynamic), vfio: FakeVFIO(hostVectors: 3))
        let owner = try DeviceInterrupts(VFIOInterrupts(try setup.open()).sources(), sink: nil)
        let plain = InterruptConfiguration()
        let wanted: [InterruptType: [InterruptConfiguration]] = [
            .msix: Array(repeating: plain, count: 8), .msi: Array(repeating: plain, count: 4), .legacy: [plain],
        ]
        let choice = try owner.enableBest(wanted)
        #expect(choice.type == .legacy)
        #expect(
            choice.refusals.map(\.error) == [
                .hostExhausted(asked: 8, available: 3), .hostExhausted(asked: 4, available: 3),
            ])
        #expect(setup.fake.activeIndex == 0)
        // A block or a table that fits is better than the line.
        try owner.switchTo(.msi, Array(repeating: plain, count: 2))
        #expect(setup.fake.wiredVectors == [0, 1])
    }

    @Test("T13: a thousand switches of a device give back every host vector")
    func cycles() throws {
        let setup = DeviceSetup(configuration(isDynamic: true))
        let before = setup.vfio.hostVectors
        let owner = try DeviceInterrupts(VFIOInterrupts(try setup.open()).sources(), sink: nil)
        for round in 0..<1000 { try owner.switchTo(InterruptType.allCases[round % 3]) }
        owner.destroy()
        #expect(setup.vfio.hostVectors == before)
        #expect(setup.fake.activeIndex == nil)
    }
}
