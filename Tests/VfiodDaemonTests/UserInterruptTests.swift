import InterruptSources
import LinuxSystem
import Passthrough
import SystemPackage
import TestSupport
import Testing
import VFIOUser

@testable import VfiodDaemon

@Suite("Interrupts by vfio-user") struct UserInterruptTests {
    private typealias Client = UserClient

    @Test("MSI-X: vectors come with their eventfds, and without one are masked and forget nothing") func msix()
        async throws
    {
        let server = try await LeaseSocket(.vfioUser)
        let (client, session) = try await server.begin()
        let eventfds = try (0..<3).map { _ in try EventFD() }
        // As Linux begins: on, and no vector wired.
        _ = try await client.ask(.deviceSetIRQs, Client.irqs(Client.wire, 2, 0, 1))
        session.messages.raise(1)
        _ = try await client.ask(
            .deviceSetIRQs, Client.irqs(Client.wire, 2, 0, 2), eventfds[0...1].map(\.rawValue))
        #expect(eventfds.map { $0.drain() } == [0, 1, 0])
        session.messages.raise(0)
        #expect(eventfds.map { $0.drain() } == [1, 0, 0])
        // Another eventfd for a live vector.
        _ = try await client.ask(.deviceSetIRQs, Client.irqs(Client.wire, 2, 0, 1), [eventfds[2].rawValue])
        session.messages.raise(0)
        #expect(eventfds.map { $0.drain() } == [0, 0, 1])
        _ = try await client.ask(.deviceSetIRQs, Client.irqs(Client.wire, 2, 0, 1))
        session.messages.raise(0)
        #expect(eventfds.map { $0.drain() } == [0, 0, 0])
        _ = try await client.ask(.deviceSetIRQs, Client.irqs(Client.wire, 2, 0, 1), [eventfds[0].rawValue])
        #expect(eventfds.map { $0.drain() } == [1, 0, 0])
        _ = try await client.ask(.deviceSetIRQs, Client.irqs(Client.fire, 2, 1, 1))
        #expect(eventfds.map { $0.drain() } == [0, 1, 0])
        #expect(
            try await client.refusal(.deviceSetIRQs, Client.irqs(Client.mask, 2, 0, 1))
                == .inappropriateIOCTLForDevice)
        let memory = try SharedMemory(name: "no-eventfd", length: 4096)
        #expect(
            try await client.refusal(
                .deviceSetIRQs, Client.irqs(Client.wire, 2, 0, 1), [memory.descriptor.rawValue])
                == .invalidArgument)
        session.messages.raise(0)
        #expect(eventfds.map { $0.drain() } == [1, 0, 0])
        _ = try await client.ask(.deviceSetIRQs, Client.irqs(Client.fire, 2, 0, 0))
        #expect(
            try await client.refusal(.deviceSetIRQs, Client.irqs(Client.fire, 2, 0, 1)) == .invalidArgument)
        session.messages.raise(0)
        #expect(eventfds.map { $0.drain() } == [0, 0, 0])
    }

    @Test(
        "An MSI block that comes in parts is as large as the guest allows from the first of them", arguments: [1, 32])
    func msi(allowed: Int) async throws {
        let server = try await LeaseSocket(.vfioUser)
        let (client, session) = try await server.begin()
        session.allowed.withLock { $0 = allowed }
        let eventfds = try (0..<32).map { _ in try EventFD() }
        for first in [0, 16] {
            _ = try await client.ask(
                .deviceSetIRQs, Client.irqs(Client.wire, 1, UInt32(first), 16),
                eventfds[first..<first + 16].map(\.rawValue))
            // What the guest has not told is found out with the second part, and the block made anew.
            #expect(session.block.now.provided == (first == 0 && allowed == 1 ? 16 : 32))
        }
        for index in 0..<32 {
            session.block.raise(index)
            #expect(eventfds.map { $0.drain() } == (0..<32).map { $0 == index ? 1 : 0 })
        }
    }

    @Test("INTx: with a resample eventfd, and by unmasking where there is none") func line() async throws {
        let server = try await LeaseSocket(.vfioUser)
        let (client, session) = try await server.begin()
        let (trigger, resample) = (try EventFD(), try EventFD())
        let line = session.line
        func ask(_ flags: UInt32, _ count: UInt32 = 1, _ eventfd: EventFD? = nil) async throws {
            _ = try await client.ask(
                .deviceSetIRQs, Client.irqs(flags, 0, 0, count), eventfd.map { [$0.rawValue] } ?? [])
        }
        try await ask(Client.wire, 1, trigger)
        line.setLine(asserted: true)
        #expect(trigger.drain() == 1)
        // Its own end of interrupt, as a client that polls has it: still asserted, so it comes again.
        try await ask(Client.unmask)
        line.settle()
        #expect(trigger.drain() == 1)
        line.setLine(asserted: false)
        try await ask(Client.unmask)
        line.settle()
        #expect(trigger.drain() == 0)
        // As QEMU hands the end of interrupt to the kernel.
        try await ask(Client.mask)
        try await ask(Client.resample, 1, resample)
        try await ask(Client.unmask)
        line.setLine(asserted: true)
        #expect(trigger.drain() == 1)
        try resample.signal()
        line.settle()
        #expect(trigger.drain() == 1)
        try await ask(Client.mask)
        line.setLine(asserted: false)
        line.setLine(asserted: true)
        line.settle()
        #expect(trigger.drain() == 0)
        try await ask(Client.fire, 0)
        line.settle()
        #expect(trigger.drain() == 0)
    }

    @Test("One type follows another, and each is as if there had been no other") func switches() async throws {
        let server = try await LeaseSocket(.vfioUser)
        let (client, session) = try await server.begin()
        let eventfds = try (0..<2).map { _ in try EventFD() }
        let sources = [session.line, session.block, session.messages]
        func raise(_ index: UInt32) {
            switch index {
            case 0:
                session.line.setLine(asserted: true)
                session.line.setLine(asserted: false)
            case 1: session.block.raise(1)
            default: session.messages.raise(1)
            }
        }
        // From each to each other, and to itself again.
        for index: UInt32 in [0, 1, 2, 1, 0, 2, 0, 0, 1, 1, 2, 2] {
            let count: UInt32 = index == 0 ? 1 : 2
            let own = Array(eventfds.suffix(Int(count)))
            _ = try await client.ask(
                .deviceSetIRQs, Client.irqs(Client.wire, index, 0, count), own.map(\.rawValue))
            #expect(sources.map { $0.now.provided != nil } == (0..<3).map { $0 == index })
            raise(index)
            #expect(eventfds.map { $0.drain() } == [0, 1])
            // Another one, without an eventfd, is off already.
            _ = try await client.ask(.deviceSetIRQs, Client.irqs(Client.fire, (index + 1) % 3, 0, 0))
            #expect(sources[Int(index)].now.provided != nil)
            // As QEMU has it: off before the next comes; or as the next takes its place.
            if index != 1 { _ = try await client.ask(.deviceSetIRQs, Client.irqs(Client.fire, index, 0, 0)) }
            raise(index == 1 ? 2 : index)
            #expect(eventfds.map { $0.drain() } == [0, 0])
        }
    }

    @Test("A type that cannot be had leaves the one that was on, on") func refusedSwitch() async throws {
        let server = try await LeaseSocket(.vfioUser)
        let (client, session) = try await server.begin()
        let (eventfd, other) = (try EventFD(), try EventFD())
        _ = try await client.ask(.deviceSetIRQs, Client.irqs(Client.wire, 2, 0, 1), [eventfd.rawValue])
        // Off, and then on.
        session.calls.restart(failing: 1)
        #expect(
            try await client.refusal(.deviceSetIRQs, Client.irqs(Client.wire, 1, 0, 1), [other.rawValue]) == .ioError)
        #expect(session.calls.names.prefix(2) == ["disable", "enable x"])
        session.calls.restart()
        session.messages.raise(0)
        #expect(eventfd.drain() == 1)
        _ = try await client.ask(.deviceSetIRQs, Client.irqs(Client.wire, 1, 0, 1), [other.rawValue])
        session.block.raise(0)
        #expect(other.drain() == 1 && eventfd.drain() == 0)
    }

    @Test("An MSI block that cannot grow stays on, and what is pending stays so") func refusedGrowth() async throws {
        let server = try await LeaseSocket(.vfioUser)
        let (client, session) = try await server.begin()
        let eventfds = try (0..<4).map { _ in try EventFD() }
        func wire(_ first: UInt32, _ count: UInt32, _ eventfds: [EventFD]) async throws -> Errno? {
            try await client.refusal(
                .deviceSetIRQs, Client.irqs(Client.wire, 1, first, count), eventfds.map(\.rawValue))
        }
        #expect(try await wire(0, 2, Array(eventfds[0...1])) == nil)
        // One that nobody has taken from its eventfd yet, and one on a vector that has none.
        session.block.raise(0)
        #expect(try await wire(1, 1, []) == nil)
        session.block.raise(1)
        // Off, on with four, and on with two again.
        session.calls.restart(failing: 1)
        #expect(try await wire(2, 2, Array(eventfds[2...3])) == .ioError)
        #expect(session.calls.names == ["disable", "enable xxxx", "enable xx"])
        session.calls.restart()
        #expect(eventfds.map { $0.drain() } == [1, 0, 0, 0])
        session.block.raise(0)
        #expect(try await wire(2, 2, Array(eventfds[2...3])) == nil)
        #expect(eventfds.map { $0.drain() } == [1, 0, 0, 0])
        for vector in 2...3 { session.block.raise(vector) }
        #expect(eventfds.map { $0.drain() } == [0, 0, 1, 1])
        #expect(try await wire(1, 1, [eventfds[1]]) == nil)
        #expect(eventfds.map { $0.drain() } == [0, 1, 0, 0])
        // A part that is half in the block: as large as the device has them.
        #expect(try await wire(3, 3, Array(eventfds[0...2])) == nil)
        for vector in 3...5 { session.block.raise(vector) }
        #expect(eventfds.map { $0.drain() } == [1, 1, 1, 0])
        #expect(session.block.now.provided == 8)
        // Off forgets all of it.
        #expect(try await wire(1, 1, []) == nil)
        session.block.raise(1)
        _ = try await client.ask(.deviceSetIRQs, Client.irqs(Client.fire, 1, 0, 0))
        #expect(try await wire(0, 2, Array(eventfds[0...1])) == nil)
        #expect(eventfds.map { $0.drain() } == [0, 0, 0, 0] && session.block.now.provided == 2)
    }
}
