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

@Suite("A leased device by vfio-user") struct UserServerTests {
    private typealias Client = UserClient

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

    @Test("A region is given away to be mapped where that is allowed, and only there", arguments: [true, false])
    func mapping(isAllowed: Bool) async throws {
        let server = try await LeaseSocket(.vfioUser, mapsBARs: isAllowed)
        let (client, _) = try await server.begin()
        let asked = Client.bytes(UInt32(64), UInt32(0), UInt32(0), UInt32(0), UInt64(0), UInt64(0))
        try await client.send(.deviceGetRegionInfo, asked)
        let answer = try #require(try await client.receive())
        #expect(answer.header.errorNumber == 0)
        #expect(answer.descriptors == (isAllowed ? 1 : 0))
        let fileOffset = Client.bytes(isAllowed ? UInt64(1) << 40 : 0)
        let areas = Client.bytes(UInt16(1), UInt16(1), UInt32(0), UInt32(1), UInt32(0), UInt64(0), UInt64(4096))
        let flags: UInt32 = isAllowed ? 0xf : 3
        #expect(
            answer.payload
                == Client.bytes(UInt32(isAllowed ? 64 : 32), flags, UInt32(0), UInt32(isAllowed ? 32 : 0), UInt64(4096))
                + fileOffset + (isAllowed ? areas : []))
    }

    @Test("A client is told how many ranges its lease may have", arguments: [(7, 7), (1 << 20, 65535)])
    func mappings(of lease: Int, told: Int) async throws {
        let server = try await LeaseSocket(.vfioUser, mappings: lease)
        let version = VFIOUserVersion(try await server.connectUser().ask(.version, [0, 0, 0, 0]))
        #expect(version?.capabilities.maximumMappings == told)
    }

    @Test("A mapping that cannot be taken back stays, and the others go") func unmap() async throws {
        let server = try await LeaseSocket(.vfioUser)
        let (client, session) = try await server.begin()
        let memory = try SharedMemory(name: "guest", length: 1 << 16)
        for iova: UInt64 in [0, 4096, 8192, 16384] {
            _ = try await client.ask(
                .dmaMap, Client.bytes(UInt32(32), UInt32(3), UInt64(0), iova, UInt64(4096)),
                [memory.descriptor.rawValue])
        }
        session.kept.withLock { $0 = [4096, 8192] }
        let all = Client.bytes(UInt32(24), UInt32(2), UInt64(0), UInt64(0))
        #expect(try await client.refusal(.dmaUnmap, all) == .ioError)
        #expect(session.mapped.withLock { Set($0.keys.map(\.first)) } == [4096, 8192])
        session.kept.withLock { $0 = [] }
        #expect(try await client.ask(.dmaUnmap, all) == all)
        #expect(session.mapped.withLock { $0.isEmpty })
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

    @Test("One client at a time; its session ends with its connection, and the next begins") func sessions()
        async throws
    {
        let server = try await LeaseSocket(.vfioUser)
        do {
            let (client, _) = try await server.begin()
            let second = try server.connectUser()
            #expect(try await second.receive() == nil)
            _ = try await client.ask(.deviceReset)
        }
        while await server.devices.ends.isEmpty { try await Task.sleep(for: .milliseconds(1)) }
        #expect(await server.devices.ends == [.connectionClosed])
        // The place is free once the session's end is entered.
        while true {
            let next = try server.connectUser()
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

    @Test("What came before bytes that are no message is carried out and answered, also in one read") func before()
        async throws
    {
        let server = try await LeaseSocket(.vfioUser)
        let (client, session) = try await server.begin()
        let place = Client.bytes(UInt64(0), UInt32(0), UInt32(2))
        let write =
            VFIOUserHeader(.regionWrite, messageID: 8, messageSize: 34, wantsNoReply: true).bytes + place + [1, 2]
        let read = VFIOUserHeader(.regionRead, messageID: 9, messageSize: 32).bytes + place
        try await client.send(write + read + VFIOUserHeader(.regionRead, messageID: 1, messageSize: 3).bytes)
        let answer = try #require(try await client.receive())
        #expect(answer.header.messageID == 9 && answer.payload == place + [1, 2])
        #expect(session.regions.withLock { $0[0]?.prefix(2) } == [1, 2])
        #expect(try await client.receive() == nil)
    }

    @Test("A device that does not open is said so, and the connection ends") func unopened() async throws {
        let server = try await LeaseSocket(.vfioUser)
        await server.devices.fail(.deviceNotFound(""))
        let client = try server.connectUser()
        #expect(try await client.refusal(.version, [0, 0, 0, 0]) == .resourceBusy)
        #expect(try await client.receive() == nil)
    }

    @Test(
        "A client that sends and takes no answers is not read any more, and served on when it does",
        .timeLimit(.minutes(1)))
    func stuck() async throws {
        let lease = try await LeaseSocket(.vfioUser)
        let path = lease.directory.file("stuck")
        let server = UserServer(
            lease.address, devices: lease.devices, mappings: 1, mapsBARs: false, on: lease.loop,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        try await server.listen(try UnixListener(path: path))
        let client = try UserClient(path)
        _ = try await client.ask(.version, [0, 0, 0, 0])
        let session = try #require(await lease.devices.sessions[lease.address])
        let asked = Client.bytes(UInt64(0), UInt32(0), UInt32(4096))
        let size = UInt32(VFIOUserHeader.size + asked.count)
        let message = VFIOUserHeader(.regionRead, messageID: 9, messageSize: size).bytes + asked
        // More than is read at once, and more answers than any socket holds.
        let count = 5000
        let sending = Task { try await client.send((0..<count).flatMap { _ in message }) }
        while await !server.isAwaitingClient { try await Task.sleep(for: .milliseconds(1)) }
        // What runs has come to its end, and nothing begins.
        let begun = session.reads.withLock { $0 }
        #expect(begun < count / 2)
        for _ in 0..<100 { #expect(await server.isAwaitingClient) }
        #expect(session.reads.withLock { $0 } <= begun + 1)
        var answers = 0
        while answers < count, let answer = try await client.receive() {
            #expect(answer.payload.count == 4096 + 16)
            answers += 1
        }
        #expect(answers == count && session.reads.withLock { $0 } == count)
        try await sending.value
        await server.stop()
    }

    @Test("Who was admitted has the session that began for him, whoever comes after him") func openings() async throws {
        let lease = try await LeaseSocket(.vfioUser)
        let gate = SessionGate(
            lease.address, devices: lease.devices, on: lease.loop,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        func admit() throws -> SessionOpening? {
            let (first, second) = try UnixSocket.pair(.stream).take { (SharedDescriptor($0), SharedDescriptor($1)) }
            defer { withExtendedLifetime(second) {} }
            let socket = UnixSocket(adopting: try first.duplicate())
            return try gate.admit(socket, from: try socket.peerCredentials())
        }
        let first = try #require(try admit())
        let session = try await first.value.get() as? InMemorySession
        #expect(try admit() == nil)
        lease.loop.submit { gate.connectionEnded() }
        while gate.peer != nil { try await Task.sleep(for: .milliseconds(1)) }
        let second = try #require(try admit())
        #expect(try await second.value.get() as? InMemorySession !== session)
        #expect(try await first.value.get() as? InMemorySession === session)
    }
}
