import Glibc
import InterruptSources
import LinuxSystem
import Logging
import PCI
import Passthrough
import SystemPackage
import TestSupport
import Testing
import VFIOUser

@testable import VfiodDaemon

extension LeaseSocket {
    fileprivate func connect() throws -> UserClient { try UserClient(path) }

    /// A client that has agreed on a version, and its session.
    fileprivate func begin() async throws -> (UserClient, InMemorySession) {
        let client = try connect()
        let text = Array(#"{"capabilities":{"max_msg_fds":16}}"#.utf8)
        _ = try await client.ask(.version, [0, 0, 0, 0] + text + [0])
        return (client, try #require(await devices.sessions[address]))
    }
}

/// A client. Its calls block.
private final class UserClient: Sendable {
    private let socket: UnixSocket
    // One to send and one to receive: what a server does not take must not keep its answers from us.
    private let sender: BlockingLane
    private let receiver: BlockingLane
    private let lastID = Lock<UInt16>(0)

    init(_ path: String) throws {
        socket = try UnixSocket(connectingTo: path)
        sender = try BlockingLane(name: "client sends")
        receiver = try BlockingLane(name: "client receives")
    }

    /// Little-endian bytes of numbers.
    static func bytes(_ numbers: any FixedWidthInteger...) -> [UInt8] {
        numbers.flatMap { littleEndian($0) }
    }

    private static func littleEndian<Number: FixedWidthInteger>(_ number: Number) -> [UInt8] {
        (0..<Number.bitWidth / 8).map { UInt8(truncatingIfNeeded: number >> ($0 * 8)) }
    }

    func send(_ bytes: [UInt8], _ descriptors: [CInt] = []) async throws {
        _ = try await sender.run { [self] () throws(KernelError) in try socket.send(bytes, descriptors: descriptors) }
    }

    func send(
        _ command: VFIOUserCommand, _ payload: [UInt8] = [], _ descriptors: [CInt] = [], wantsNoReply: Bool = false
    ) async throws {
        let id = lastID.withLock { id in
            id &+= 1
            return id
        }
        let size = UInt32(VFIOUserHeader.size + payload.count)
        let header = VFIOUserHeader(command, messageID: id, messageSize: size, wantsNoReply: wantsNoReply)
        try await send(header.bytes + payload, descriptors)
    }

    /// The next answer; nil at the end of the connection.
    func receive() async throws -> (header: VFIOUserHeader, payload: [UInt8])? {
        try await receiver.run { [self] () throws(KernelError) in
            var bytes: [UInt8] = []
            var size = VFIOUserHeader.size
            while bytes.count < size {
                let came: [UInt8]
                do throws(KernelError) {
                    came = try socket.receive(limit: size - bytes.count).bytes
                } catch {
                    if error.errno == .connectionReset { return nil }
                    throw error
                }
                if came.isEmpty { return nil }
                bytes += came
                if bytes.count == VFIOUserHeader.size, let header = VFIOUserHeader(bytes) {
                    size = Int(header.messageSize)
                }
            }
            return VFIOUserHeader(bytes).map { ($0, Array(bytes.dropFirst(VFIOUserHeader.size))) }
        }
    }

    /// The payload of the answer.
    func ask(_ command: VFIOUserCommand, _ payload: [UInt8] = [], _ descriptors: [CInt] = []) async throws -> [UInt8] {
        try await send(command, payload, descriptors)
        let answer = try #require(try await receive())
        #expect(answer.header.errorNumber == 0 && answer.header.command == command.rawValue)
        return answer.payload
    }

    /// The error of the answer.
    func refusal(
        _ command: VFIOUserCommand, _ payload: [UInt8] = [], _ descriptors: [CInt] = []
    ) async throws -> Errno? {
        try await send(command, payload, descriptors)
        let answer = try #require(try await receive())
        return answer.header.errorNumber == 0 ? nil : Errno(rawValue: CInt(answer.header.errorNumber))
    }

    /// VFIO_DEVICE_SET_IRQS.
    static func irqs(_ flags: UInt32, _ index: UInt32, _ start: UInt32, _ count: UInt32) -> [UInt8] {
        bytes(UInt32(20), flags, index, start, count)
    }
}

@Suite("A leased device by vfio-user") struct UserServerTests {
    private typealias Client = UserClient
    // VFIO_IRQ_SET_*: eventfds, or none of them, to trigger; nothing to trigger, mask and unmask; eventfds to unmask.
    private static let wire: UInt32 = 0x24
    private static let fire: UInt32 = 0x21
    private static let mask: UInt32 = 0x09
    private static let unmask: UInt32 = 0x11
    private static let resample: UInt32 = 0x14

    @Test("The device is described, read, written and reset") func device() async throws {
        let server = try await LeaseSocket(.vfioUser)
        let (client, session) = try await server.begin()
        let info = try await client.ask(.deviceGetInfo, Client.bytes(UInt32(16), UInt32(0), UInt32(0), UInt32(0)))
        #expect(info == Client.bytes(UInt32(16), UInt32(3), UInt32(9), UInt32(5)))
        let place = Client.bytes(UInt64(8), UInt32(0), UInt32(2))
        #expect(try await client.ask(.regionWrite, place + [1, 2]) == place)
        try await client.send(.regionWrite, place + [3, 4], wantsNoReply: true)
        #expect(try await client.ask(.regionRead, place) == place + [3, 4])
        _ = try await client.ask(.deviceReset)
        #expect(session.resets.withLock { $0 } == 1)
        session.failure.withLock { $0 = .kernel(step: "read", KernelError("pread", .ioError)) }
        #expect(try await client.ask(.regionRead, place) == place + [0xff, 0xff])
    }

    @Test("Memory is mapped by its descriptor, and goes whole") func memory() async throws {
        let server = try await LeaseSocket(.vfioUser)
        let (client, session) = try await server.begin()
        let memory = try SharedMemory(name: "guest", length: 1 << 16)
        let other = try EventFD()
        func map(_ iova: UInt64, _ size: UInt64) -> [UInt8] {
            Client.bytes(UInt32(32), UInt32(3), UInt64(0), iova, size)
        }
        func unmap(_ flags: UInt32, _ iova: UInt64, _ size: UInt64) -> [UInt8] {
            Client.bytes(UInt32(24), flags, iova, size)
        }
        var mapped: Set<UInt64> { session.mapped.withLock { Set($0.keys.map(\.first)) } }
        for iova: UInt64 in [0, 4096, 16384] {
            _ = try await client.ask(.dmaMap, map(iova, 4096), [memory.descriptor.rawValue])
        }
        // A ROM, which no device can reach.
        _ = try await client.ask(.dmaMap, map(8192, 4096))
        #expect(mapped == [0, 4096, 16384])
        #expect(try await client.refusal(.dmaMap, map(4096, 8192), [memory.descriptor.rawValue]) == .fileExists)
        #expect(try await client.refusal(.dmaMap, map(8192, 4096)) == .fileExists)
        #expect(try await client.refusal(.dmaMap, map(1 << 20, 4095), [memory.descriptor.rawValue]) == .invalidArgument)
        #expect(try await client.refusal(.dmaMap, map(1 << 20, 4096), [other.rawValue]) == .invalidArgument)
        #expect(
            try await client.refusal(
                .dmaMap, map(1 << 20, 4096), [memory.descriptor.rawValue, memory.descriptor.rawValue])
                == .invalidArgument)
        #expect(try await client.refusal(.dmaUnmap, unmap(0, 4096, 2048)) == .invalidArgument)
        #expect(try await client.refusal(.dmaUnmap, unmap(0, 12288, 4096)) == .noSuchFileOrDirectory)
        #expect(try await client.refusal(.dmaUnmap, unmap(0, .max, .max)) == .invalidArgument)
        // A union, with what is in between.
        #expect(try await client.ask(.dmaUnmap, unmap(0, 4096, 8192)) == unmap(0, 4096, 8192))
        #expect(mapped == [0, 16384])
        _ = try await client.ask(.dmaUnmap, unmap(2, 0, 0))
        #expect(mapped.isEmpty)
        _ = try await client.ask(.dmaMap, map(0, 4096), [memory.descriptor.rawValue])
        #expect(mapped == [0])
    }

    @Test("MSI-X: vectors come with their eventfds, and without one are masked and forget nothing") func msix()
        async throws
    {
        let server = try await LeaseSocket(.vfioUser)
        let (client, session) = try await server.begin()
        let eventfds = try (0..<3).map { _ in try EventFD() }
        // As Linux begins: on, and no vector wired.
        _ = try await client.ask(.deviceSetIRQs, Client.irqs(UserServerTests.wire, 2, 0, 1))
        session.messages.raise(1)
        _ = try await client.ask(
            .deviceSetIRQs, Client.irqs(UserServerTests.wire, 2, 0, 2), eventfds[0...1].map(\.rawValue))
        #expect(eventfds.map { $0.drain() } == [0, 1, 0])
        session.messages.raise(0)
        #expect(eventfds.map { $0.drain() } == [1, 0, 0])
        // Another eventfd for a live vector.
        _ = try await client.ask(.deviceSetIRQs, Client.irqs(UserServerTests.wire, 2, 0, 1), [eventfds[2].rawValue])
        session.messages.raise(0)
        #expect(eventfds.map { $0.drain() } == [0, 0, 1])
        _ = try await client.ask(.deviceSetIRQs, Client.irqs(UserServerTests.wire, 2, 0, 1))
        session.messages.raise(0)
        #expect(eventfds.map { $0.drain() } == [0, 0, 0])
        _ = try await client.ask(.deviceSetIRQs, Client.irqs(UserServerTests.wire, 2, 0, 1), [eventfds[0].rawValue])
        #expect(eventfds.map { $0.drain() } == [1, 0, 0])
        _ = try await client.ask(.deviceSetIRQs, Client.irqs(UserServerTests.fire, 2, 1, 1))
        #expect(eventfds.map { $0.drain() } == [0, 1, 0])
        #expect(
            try await client.refusal(.deviceSetIRQs, Client.irqs(UserServerTests.mask, 2, 0, 1))
                == .inappropriateIOCTLForDevice)
        let memory = try SharedMemory(name: "no-eventfd", length: 4096)
        #expect(
            try await client.refusal(
                .deviceSetIRQs, Client.irqs(UserServerTests.wire, 2, 0, 1), [memory.descriptor.rawValue])
                == .invalidArgument)
        session.messages.raise(0)
        #expect(eventfds.map { $0.drain() } == [1, 0, 0])
        _ = try await client.ask(.deviceSetIRQs, Client.irqs(UserServerTests.fire, 2, 0, 0))
        #expect(
            try await client.refusal(.deviceSetIRQs, Client.irqs(UserServerTests.fire, 2, 0, 1)) == .invalidArgument)
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
                .deviceSetIRQs, Client.irqs(UserServerTests.wire, 1, UInt32(first), 16),
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
        try await ask(UserServerTests.wire, 1, trigger)
        line.setLine(asserted: true)
        #expect(trigger.drain() == 1)
        // Its own end of interrupt, as a client that polls has it: still asserted, so it comes again.
        try await ask(UserServerTests.unmask)
        line.settle()
        #expect(trigger.drain() == 1)
        line.setLine(asserted: false)
        try await ask(UserServerTests.unmask)
        line.settle()
        #expect(trigger.drain() == 0)
        // As QEMU hands the end of interrupt to the kernel.
        try await ask(UserServerTests.mask)
        try await ask(UserServerTests.resample, 1, resample)
        try await ask(UserServerTests.unmask)
        line.setLine(asserted: true)
        #expect(trigger.drain() == 1)
        try resample.signal()
        line.settle()
        #expect(trigger.drain() == 1)
        try await ask(UserServerTests.mask)
        line.setLine(asserted: false)
        line.setLine(asserted: true)
        line.settle()
        #expect(trigger.drain() == 0)
        try await ask(UserServerTests.fire, 0)
        line.settle()
        #expect(trigger.drain() == 0)
    }

    @Test("One client at a time; its session ends with its connection, and the next begins") func sessions()
        async throws
    {
        let server = try await LeaseSocket(.vfioUser)
        do {
            let (client, _) = try await server.begin()
            let second = try server.connect()
            #expect(try await second.receive() == nil)
            _ = try await client.ask(.deviceReset)
        }
        while await server.devices.ends.isEmpty { try await Task.sleep(for: .milliseconds(1)) }
        #expect(await server.devices.ends == [.connectionClosed])
        // The place is free once the session's end is entered.
        while true {
            let next = try server.connect()
            try? await next.send(.version, [0, 0, 0, 0])
            if try await next.receive() == nil { continue }
            _ = try await next.ask(.deviceReset)
            break
        }
        await server.devices.endSession(server.address, .detached)
    }

    @Test("Bytes that are no message end the connection; a bad message does not") func violations() async throws {
        let server = try await LeaseSocket(.vfioUser)
        let (client, _) = try await server.begin()
        #expect(try await client.refusal(.regionRead, [1, 2, 3]) == .invalidArgument)
        _ = try await client.ask(.deviceReset)
        try await client.send(VFIOUserHeader(.regionWrite, messageID: 1, messageSize: .max).bytes)
        #expect(try await client.receive() == nil)
        while await server.devices.ends.isEmpty { try await Task.sleep(for: .milliseconds(1)) }
    }

    @Test("A device that does not open is said so, and the connection ends") func unopened() async throws {
        let server = try await LeaseSocket(.vfioUser)
        await server.devices.fail(.deviceNotFound(""))
        let client = try server.connect()
        #expect(try await client.refusal(.version, [0, 0, 0, 0]) == .resourceBusy)
        #expect(try await client.receive() == nil)
    }

    @Test("A client that sends and reads nothing is not read any more, and costs nobody else anything") func stuck()
        async throws
    {
        let server = try await LeaseSocket(.vfioUser)
        let (client, _) = try await server.begin()
        let asked = Client.bytes(UInt64(0), UInt32(0), UInt32(4096))
        let size = UInt32(VFIOUserHeader.size + asked.count)
        let message = VFIOUserHeader(.regionRead, messageID: 9, messageSize: size).bytes + asked
        // More answers than any socket holds: each is 130 times as long as its question.
        let all = (0..<2000).flatMap { _ in message }
        let sending = Task { try await client.send(all) }
        var answers = 0
        while answers < 2000, let answer = try await client.receive() {
            #expect(answer.payload.count == 4096 + 16)
            answers += 1
        }
        #expect(answers == 2000)
        try await sending.value
    }
}
