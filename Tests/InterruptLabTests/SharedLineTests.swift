import Glibc
import InterruptSources
import LinuxSystem
import TestSupport
import Testing
import VFIO
import VFIOInterrupts

@testable import Passthrough

/// Lines that devices share, in the guest and in the host. In the lab, edu, edu2 and the network card that the host
/// keeps are on one line of the host.
@Suite("T9: shared lines in the lab", .enabled(if: Requirements.vfioLab, "needs the lab"), .serialized)
struct SharedLineTests {
    /// Devices on one pin of the guest.
    private final class Bench: Sendable {
        let guest: CountingGuest
        let groups: [InterruptSourceGroup]
        let raisers: [RegisterRaiser]

        init(_ names: [LabDevice]) throws {
            let devices = try names.map { try $0.open() }
            let guest = try CountingGuest(vcpus: 1, registers: try devices.map { try $0.registers() })
            self.guest = guest
            raisers = try devices.map { try RegisterRaiser(EduDevice(), $0, .legacy) }
            groups = try devices.map { device in
                let source = try #require(try VFIOInterrupts(device).source(.legacy))
                return try InterruptSourceGroup(source: source, sink: guest.sink, pin: CountingGuest.pin)
            }
        }

        deinit { for group in groups { group.destroy() } }

        /// Waits until the guest has found each device this often, and handles nothing any more.
        func expectServed(_ expected: [UInt32], _ location: SourceLocation = #_sourceLocation) throws {
            let served = eventually { expected.indices.allSatisfy { guest.served($0) == expected[$0] } }
            #expect(served, "\(guest.served(0)), \(guest.served(1))", sourceLocation: location)
            #expect(eventually { guest.completed == guest.line }, sourceLocation: location)
            try guest.fence()
            #expect(expected.indices.map { guest.served($0) } == expected, sourceLocation: location)
        }
    }

    @Test("T9: two devices on one line of the guest are both served, alone and together")
    func twoDevices() throws {
        let bench = try Bench([.edu, .edu2])
        for group in bench.groups { try group.enable() }
        var served: [UInt32] = [0, 0]
        for round in 0..<200 {
            for device in [[0], [1], [0, 1], [1, 0]][round % 4] {
                try bench.raisers[device].raise(0)
                served[device] += 1
            }
            try bench.expectServed(served)
        }
        // One is masked: the other goes on, and the first comes when it is unmasked.
        try bench.groups[0].mask(0)
        try bench.raisers[0].raise(0)
        // The guest's handler would find it, because it looks at both.
        let entered = bench.guest.line
        try bench.guest.fence()
        #expect(bench.guest.line == entered)
        try bench.raisers[0].withdraw()
        for _ in 0..<20 {
            try bench.raisers[1].raise(0)
            served[1] += 1
            try bench.expectServed(served)
        }
        try bench.raisers[0].raise(0)
        try bench.groups[0].unmask(0)
        served[0] += 1
        try bench.expectServed(served)
        // One is gone: the other goes on.
        try bench.groups[0].disable()
        for _ in 0..<20 {
            try bench.raisers[1].raise(0)
            served[1] += 1
            try bench.expectServed(served)
        }
    }

    @Test("T9: the host's line is quiet afterwards, and a neighbour on it works before, meanwhile and afterwards")
    func neighbour() throws {
        let line = try LabDevice.edu.line
        let card = try LabDevice.neighbourLine()
        #expect(card.number == line.number, "edu is on \(line), the card that the host keeps on \(card)")
        let unhandled = try line.unhandled
        #expect(try ping())
        let bench = try Bench([.edu])
        try bench.groups[0].enable()
        for number in 1...200 as ClosedRange<UInt32> {
            try bench.raisers[0].raise(0)
            try bench.expectServed([number])
            if number % 100 == 0 { #expect(try ping()) }
        }
        // Masked while it asserts, the device holds nobody up.
        try bench.groups[0].mask(0)
        try bench.raisers[0].raise(0)
        #expect(try ping())
        try bench.groups[0].unmask(0)
        try bench.expectServed([201])
        try bench.groups[0].disable()
        try expectQuiet(line)
        #expect(try ping())
        #expect(try line.unhandled <= unhandled + 10)
    }

    @Test("T9: when the guest's process dies with the line asserted, the line stays masked and the host quiet")
    func consumerDies() throws {
        let line = try LabDevice.edu.line
        let unhandled = try line.unhandled
        let device = try LabDevice.edu.open()
        let raiser = try RegisterRaiser(EduDevice(), device, .legacy)
        let source = try #require(try VFIOInterrupts(device).source(.legacy))
        let group = try InterruptSourceGroup(source: source, sink: nil)
        let consumer = try ConsumerProcess(
            trigger: #require(try group.notifier(0)), resample: #require(try group.resampleNotifier()))
        try group.enable()
        try raiser.raise(0)
        #expect(eventually { consumer.count == 1 })
        try raiser.withdraw()
        consumer.acknowledge(1)
        #expect(eventually { consumer.completed == 1 })
        // The second one nobody will end.
        try raiser.raise(0)
        #expect(eventually { consumer.count == 2 })
        try consumer.kill()
        try expectQuiet(line)
        #expect(try ping())
        #expect(try device.isInterruptAsserted())
        #expect(try line.unhandled <= unhandled + 10)
        // Its next guest is told what the device still asserts.
        try group.disable()
        let guest = try CountingGuest(vcpus: 1, registers: [try device.registers()])
        let next = try InterruptSourceGroup(source: source, sink: guest.sink, pin: CountingGuest.pin)
        try next.enable()
        #expect(eventually { guest.served(0) == 1 && guest.completed == guest.line })
        try raiser.raise(0)
        #expect(eventually { guest.served(0) == 2 && guest.completed == guest.line })
        next.destroy()
    }

    /// Sees that a line interrupts the host no more often than the neighbour's packets do.
    private func expectQuiet(_ line: HostLine) throws {
        let before = try line.count
        #expect(try ping())
        let grown = try line.count - before
        #expect(grown < 500, "\(grown) interrupts while three packets came and went")
    }

    /// Whether the neighbour on the line sends and receives.
    private func ping() throws -> Bool {
        let process = try ChildProcess(
            executable: "/usr/bin/ping", arguments: ["-q", "-c", "3", "-i", "0.2", "-W", "5", "10.0.3.2"])
        return try process.wait(milliseconds: 30_000) == .status(0)
    }
}
