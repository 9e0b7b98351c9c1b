import LinuxSystem
import SystemPackage
import TestSupport
import Testing
import VFIOUser

@Suite("vfio-user server session") struct SessionTests {
    private let device = RecordingDevice()

    /// A session on which this minor version was agreed; none, for nil.
    private func session(minor: UInt16? = 0) async -> VFIOUserSession {
        var session = VFIOUserSession(device)
        if let minor { _ = await session.answer(Client.message(.version, Client.version(minor: minor))) }
        return session
    }

    @Test("A version is agreed on, once, in an answer that fits where the client's own did")
    func version() async throws {
        // As QEMU 10 and 11 propose it.
        let text =
            #"{"capabilities":{"migration":{"max_bitmap_size":268435456,"pgsize":4096},"max_msg_fds":16,"#
            + #""write_multiple":true,"max_data_xfer_size":1048576,"pgsizes":4096,"max_dma_maps":65535}}"#
        var session = await session(minor: nil)
        let proposal = Client.version(text)
        let answer = try payload(of: await session.answer(Client.message(.version, proposal)))
        #expect(answer.count <= proposal.count)
        let agreed = try #require(VFIOUserVersion(answer))
        #expect((agreed.major, agreed.minor) == (0, 0))
        #expect(agreed.capabilities.maximumDescriptors == 16 && agreed.capabilities.pageSizes == 4096)
        #expect(agreed.capabilities.maximumTransfer == 16 << 20)
        #expect(answer.last == 0)
        #expect(try error(of: await session.answer(Client.message(.version, proposal))) == .invalidArgument)
        var other = await self.session(minor: nil)
        let newer = try payload(of: await other.answer(Client.message(.version, Client.version(minor: 9))))
        #expect(VFIOUserVersion(newer)?.minor == 1)
        var third = await self.session(minor: nil)
        #expect(try error(of: await third.answer(Client.message(.version, Client.version(nil)))) == nil)
        #expect(third.minorVersion == 0)
    }

    @Test(
        "What is no version is refused, and nothing else is taken before one",
        arguments: [
            [0, 0], Client.version("{}", major: 1), Client.version("{"), Client.version("[]"), Client.version("\0{}"),
            Client.bytes(UInt16(0), UInt16(0)) + Array("{}".utf8), Client.version(#"{"capabilities":3}"#),
            Client.version(#"{"capabilities":{"max_msg_fds":-1}}"#),
            Client.version(#"{"capabilities":{"max_msg_fds":1025}}"#),
            Client.version(#"{"capabilities":{"max_msg_fds":"16"}}"#),
            Client.version(#"{"capabilities":{"pgsizes":0}}"#), Client.version(#"{"capabilities":{"pgsizes":4097}}"#),
            Client.version(#"{"capabilities":{"max_data_xfer_size":0}}"#),
            Client.version(#"{"capabilities":{"max_dma_maps":99999999999999999999999}}"#),
            Client.version("{" + String(repeating: " ", count: 4096) + "}"),
            Client.version(String(repeating: "[", count: 4000)),
        ])
    func badVersion(payload: [UInt8]) async throws {
        var session = await session(minor: nil)
        #expect(try error(of: await session.answer(Client.message(.version, payload))) == .invalidArgument)
        #expect(session.minorVersion == nil)
        #expect(try error(of: await session.answer(Client.message(.deviceReset))) == .invalidArgument)
        #expect(device.calls.isEmpty)
        #expect(try error(of: await session.answer(Client.message(.version, Client.version()))) == nil)
    }

    @Test("What the device has is told in the kernel's structures") func description() async throws {
        var session = await session()
        let info = try payload(
            of: await session.answer(
                Client.message(.deviceGetInfo, Client.bytes(UInt32(16), UInt32(0), UInt32(0), UInt32(0)))))
        #expect(info == Client.bytes(UInt32(16), UInt32(3), UInt32(9), UInt32(5)))
        func region(_ index: UInt32, argsz: UInt32 = 32) async -> VFIOUserAnswer? {
            let asked = Client.bytes(argsz, UInt32(0), index, UInt32(0), UInt64(0), UInt64(0))
            return await session.answer(Client.message(.deviceGetRegionInfo, asked))
        }
        #expect(
            try payload(of: await region(0))
                == Client.bytes(UInt32(32), UInt32(3), UInt32(0), UInt32(0), UInt64(4096), UInt64(0)))
        #expect(
            try payload(of: await region(6, argsz: .max))
                == Client.bytes(UInt32(32), UInt32(1), UInt32(6), UInt32(0), UInt64(65536), UInt64(0)))
        // One that it does not have, VGA among them, is empty.
        #expect(try payload(of: await region(8)).dropFirst(4).allSatisfy { $0 == 0 || $0 == 8 })
        #expect(try error(of: await region(9)) == .invalidArgument)
        #expect(try error(of: await region(.max)) == .invalidArgument)
        #expect(try error(of: await region(0, argsz: 31)) == .invalidArgument)
        func irq(_ index: UInt32, argsz: UInt32 = 16) async -> VFIOUserAnswer? {
            await session.answer(
                Client.message(.deviceGetIRQInfo, Client.bytes(argsz, UInt32(0), index, UInt32(0))))
        }
        #expect(try payload(of: await irq(0)) == Client.bytes(UInt32(16), UInt32(0xf), UInt32(0), UInt32(1)))
        #expect(try payload(of: await irq(1)) == Client.bytes(UInt32(16), UInt32(9), UInt32(1), UInt32(16)))
        #expect(try payload(of: await irq(2)) == Client.bytes(UInt32(16), UInt32(1), UInt32(2), UInt32(5)))
        for index in [3, 4, 5, UInt32.max] { #expect(try error(of: await irq(index)) == .invalidArgument) }
        #expect(try error(of: await irq(0, argsz: 15)) == .invalidArgument)
    }

    @Test("A region that may be mapped comes with a descriptor each time, and with its areas where the client has room")
    func mapping() async throws {
        var card = RecordingDevice.card
        let areas = [(UInt64(0), UInt64(0x2000)), (0x3000, 0x1000)].map { offset, size in
            VFIOUserDeviceDescription.Mapping.Area(offset: offset, size: size)
        }
        card.regions[0].mapping = VFIOUserDeviceDescription.Mapping(fileOffset: 1 << 40, areas: areas)
        let device = RecordingDevice(card)
        var session = VFIOUserSession(device)
        _ = await session.answer(Client.message(.version, Client.version()))
        func region(_ index: UInt32, room: UInt32) async -> VFIOUserAnswer? {
            await session.answer(
                Client.message(
                    .deviceGetRegionInfo,
                    Client.bytes(room, UInt32(0), index, UInt32(0), UInt64(0), UInt64(0))))
        }
        let (whole, size) = (UInt32(32 + 16 + 32), UInt64(4096))
        let short = await region(0, room: whole - 1)
        #expect(
            try payload(of: short)
                == Client.bytes(whole, UInt32(7), UInt32(0), UInt32(0), size, UInt64(1) << 40))
        #expect(short?.descriptor != nil)
        let full = await region(0, room: whole)
        #expect(
            try payload(of: full)
                == Client.bytes(whole, UInt32(0xf), UInt32(0), UInt32(32), size, UInt64(1) << 40)
                + Client.bytes(UInt16(1), UInt16(1), UInt32(0), UInt32(2), UInt32(0))
                + Client.bytes(UInt64(0), UInt64(0x2000), UInt64(0x3000), UInt64(0x1000)))
        #expect(full?.descriptor != nil)
        #expect(await region(7, room: whole)?.descriptor == nil)
        #expect(device.calls == ["descriptor", "descriptor"])
        device.fail(.notPermitted)
        #expect(try error(of: await region(0, room: whole)) == .notPermitted)
    }

    @Test("Reads and writes reach the region, and nothing outside of it") func access() async throws {
        var session = await session()
        func place(_ offset: UInt64, _ region: UInt32, _ count: UInt32) -> [UInt8] {
            Client.bytes(offset, region, count)
        }
        #expect(
            try payload(of: await session.answer(Client.message(.regionRead, place(16, 7, 4)))) == place(16, 7, 4) + [
                0, 1, 2, 3,
            ])
        #expect(
            try payload(of: await session.answer(Client.message(.regionWrite, place(8, 0, 2) + [9, 8])))
                == place(8, 0, 2))
        #expect(
            await session.answer(Client.message(.regionWrite, place(9, 0, 1) + [7], wantsNoReply: true)) == nil)
        let first = place(0, 0, 4) + [1, 2, 3, 4, 0, 0, 0, 0]
        let second = place(4, 0, 1) + [5, 0, 0, 0, 0, 0, 0, 0]
        let readOnly = place(0, 6, 1) + [UInt8](repeating: 0, count: 8)
        let tooWide = place(0, 0, 9) + [UInt8](repeating: 0, count: 8)
        let (one, two) = (Client.bytes(UInt64(1)), Client.bytes(UInt64(2)))
        let multi = two + first + second
        #expect(
            try payload(of: await session.answer(Client.message(.regionWriteMulti, multi))) == Client.bytes(UInt64(2)))
        let done = ["read 7+16 4", "write 0+8 [9, 8]", "write 0+9 [7]", "write 0+0 [1, 2, 3, 4]", "write 0+4 [5]"]
        #expect(device.calls == done)
        for (offset, region, count): (UInt64, UInt32, UInt32) in [
            (256, 7, 1), (253, 7, 4), (.max, 7, 1), (0, 7, 0), (0, 1, 1), (0, 9, 1), (0, .max, 1), (0, 7, .max),
            (4096, 0, 1), (0, 0, 1 << 25),
        ] {
            #expect(
                try error(of: await session.answer(Client.message(.regionRead, place(offset, region, count))))
                    == .invalidArgument)
        }
        // Not writable; too few bytes; too many; half a place; one bad place of two.
        for bad in [
            place(0, 6, 1) + [1], place(0, 0, 2) + [1], place(0, 0, 1) + [1, 2], Array(place(0, 0, 1).prefix(15)),
        ] {
            #expect(try error(of: await session.answer(Client.message(.regionWrite, bad))) == .invalidArgument)
        }
        for bad in [
            Client.bytes(UInt64(0)), Client.bytes(UInt64.max), two + first, one + tooWide, two + first + readOnly,
            multi + [0],
        ] {
            #expect(try error(of: await session.answer(Client.message(.regionWriteMulti, bad))) == .invalidArgument)
        }
        #expect(device.calls == done)
    }

    @Test("What a device does not answer reads as all ones, in an answer as long as asked for") func failing()
        async throws
    {
        let told = Lock<[String]>([])
        var session = VFIOUserSession(device) { command, error in
            told.withLock { $0.append("\(command.map { "\($0)" } ?? "none") \(error.name)") }
        }
        _ = await session.answer(Client.message(.version, Client.version(minor: 1)))
        device.fail(.ioError)
        let asked = Client.bytes(UInt64(0), UInt32(7), UInt32(4))
        #expect(
            try payload(of: await session.answer(Client.message(.regionRead, asked))) == asked + [
                0xff, 0xff, 0xff, 0xff,
            ])
        #expect(try payload(of: await session.answer(Client.message(.regionWrite, asked + [1, 2, 3, 4]))) == asked)
        #expect(try error(of: await session.answer(Client.message(.deviceReset))) == .ioError)
        #expect(told.withLock { $0 } == ["regionRead EIO", "regionWrite EIO", "deviceReset EIO"])
    }

    @Test("Memory is mapped and unmapped as asked") func memory() async throws {
        var session = await session()
        let memory = try SharedMemory(name: "vfio-user-test", length: 4096)
        let came = try Client.received([memory.descriptor.rawValue])
        func map(_ flags: UInt32, argsz: UInt32 = 32, size: UInt64 = 8192) -> [UInt8] {
            Client.bytes(argsz, flags, UInt64(4096), UInt64(1 << 32), size)
        }
        #expect(try payload(of: await session.answer(Client.message(.dmaMap, map(3), came))).isEmpty)
        #expect(try payload(of: await session.answer(Client.message(.dmaMap, map(1 | 4)))).isEmpty)
        for bad in [map(0), map(16 | 3), map(3, argsz: 31), map(3, size: 0), Array(map(3).dropLast())] {
            #expect(try error(of: await session.answer(Client.message(.dmaMap, bad, came))) == .invalidArgument)
        }
        func unmap(_ flags: UInt32, _ iova: UInt64, _ size: UInt64, argsz: UInt32 = 24) -> [UInt8] {
            Client.bytes(argsz, flags, iova, size)
        }
        for sound in [unmap(0, 1 << 32, 8192), unmap(2, 0, 0)] {
            #expect(try payload(of: await session.answer(Client.message(.dmaUnmap, sound))) == sound)
        }
        for bad in [unmap(0, 1, 0), unmap(2, 1, 0), unmap(2, 0, 1), unmap(4, 0, 1), unmap(0, 0, 1, argsz: 23)] {
            #expect(try error(of: await session.answer(Client.message(.dmaUnmap, bad))) == .invalidArgument)
        }
        #expect(try error(of: await session.answer(Client.message(.dmaUnmap, unmap(1, 0, 4096)))) == .notSupported)
        #expect(
            device.calls == [
                "map 4294967296 8192 4096 true 1", "map 4294967296 8192 4096 false 0", "unmap 4294967296 8192",
                "unmap all",
            ])
        #expect(
            try error(of: await session.answer(Client.message(.dmaUnmap, unmap(2, 0, 0), came))) == .invalidArgument)
    }

    @Test("Interrupts are wired as the kernel would take it, and refused as it would") func interrupts() async throws {
        var session = await session()
        let eventfd = try EventFD()
        func set(_ flags: UInt32, _ index: UInt32, _ start: UInt32, _ count: UInt32, argsz: UInt32 = 20) -> [UInt8] {
            Client.bytes(argsz, flags, index, start, count)
        }
        func answer(_ payload: [UInt8], eventfds: Int = 0) async throws -> Errno? {
            let came = eventfds == 0 ? nil : try Client.received(Array(repeating: eventfd.rawValue, count: eventfds))
            return try error(of: await session.answer(Client.message(.deviceSetIRQs, payload, came)))
        }
        #expect(try await answer(set(0x24, 2, 1, 2), eventfds: 2) == nil)
        #expect(try await answer(set(0x24, 2, 0, 1)) == nil)
        #expect(try await answer(set(0x21, 2, 0, 0)) == nil)
        #expect(try await answer(set(0x09, 0, 0, 1)) == nil)
        #expect(try await answer(set(0x14, 0, 0, 1), eventfds: 1) == nil)
        #expect(try await answer(set(0x22, 1, 3, 2) + [0, 1]) == nil)
        let done = [
            "irqs 2 trigger eventfds 1+2 2", "irqs 2 trigger eventfds 0+1 0", "irqs 2 trigger none 0+0 0",
            "irqs 0 mask none 0+1 0", "irqs 0 unmask eventfds 0+1 1", "irqs 1 trigger flags([false, true]) 3+2 0",
        ]
        #expect(device.calls == done)
        let refused: [([UInt8], Int)] = [
            (set(0x24, 2, 0, 6), 6), (set(0x24, 2, 5, 1), 1), (set(0x24, 2, .max, 2), 2), (set(0x24, 2, 0, 2), 1),
            (set(0x24, 2, 0, 1), 2), (set(0x21, 2, 0, 1), 1), (set(0x04, 2, 0, 1), 1), (set(0x20, 2, 0, 1), 0),
            (set(0x25, 2, 0, 1), 1), (set(0x3c, 2, 0, 1), 1), (set(0x61, 2, 0, 1), 0), (set(0x24, 2, 0, 0), 0),
            (set(0x22, 2, 0, 0), 0), (set(0x09, 2, 0, 0), 0), (set(0x21, 2, 1, 0), 0), (set(0x24, 3, 0, 1), 1),
            (set(0x24, 5, 0, 1), 1), (set(0x24, 2, 0, 1, argsz: 19), 1), (set(0x22, 1, 0, 2) + [1], 0),
            (set(0x22, 1, 0, 1) + [1, 1], 0), (set(0x22, 1, 0, .max) + [1], 0), (set(0x21, 3, 0, 0), 0),
        ]
        for (payload, eventfds) in refused {
            #expect(try await answer(payload, eventfds: eventfds) == .invalidArgument, "\(payload)")
        }
        #expect(device.calls == done)
    }

    @Test("What this server does not do, and what is no command, is said") func others() async throws {
        var session = await session()
        for command in [VFIOUserCommand.migrationDataRead, .migrationDataWrite, .deviceGetRegionIOFDs] {
            #expect(try error(of: await session.answer(Client.message(command, [0, 0, 0, 0]))) == .notSupported)
        }
        let feature = Client.bytes(UInt32(8), UInt32(1 << 18))
        #expect(
            try error(of: await session.answer(Client.message(.deviceFeature, feature))) == .inappropriateIOCTLForDevice
        )
        for command in [VFIOUserCommand.dmaRead, .dmaWrite] {
            #expect(try error(of: await session.answer(Client.message(command))) == .invalidArgument)
        }
        #expect(try error(of: await session.answer(Client.message(.deviceReset, [1]))) == .invalidArgument)
        for command in [0, 14, 19, UInt16.max] {
            let bytes = Client.bytes(UInt16(7), command, UInt32(16), UInt32(0), UInt32(0))
            let message = VFIOUserMessage(header: try #require(VFIOUserHeader(bytes)), payload: [])
            #expect(try error(of: await session.answer(message)) == .invalidArgument)
        }
        // An answer to what was never asked.
        let header = VFIOUserHeader(answering: Client.message(.deviceReset).header, messageSize: 16)
        #expect(try error(of: await session.answer(VFIOUserMessage(header: header, payload: []))) == .invalidArgument)
        #expect(device.calls.isEmpty)
    }

    @Test("Whatever bytes come, there is an answer to them", arguments: 0..<UInt64(64))
    func noise(seed: UInt64) async throws {
        var random = SplitMix64(seed: seed)
        var session = await session()
        for _ in 0..<500 {
            let count = Int.random(in: 0...64, using: &random)
            // Small numbers come near to what is sound.
            let payload = (0..<count).map { _ in
                Bool.random(using: &random)
                    ? UInt8.random(in: 0...4, using: &random) : .random(in: .min ... .max, using: &random)
            }
            let command = VFIOUserCommand.allCases.randomElement(using: &random) ?? .version
            let answer = await session.answer(Client.message(command, payload))
            let header = try #require(answer.flatMap { VFIOUserHeader($0.bytes) })
            #expect(header.messageSize == UInt32(answer?.bytes.count ?? 0) && header.messageID == 7)
        }
    }
}
