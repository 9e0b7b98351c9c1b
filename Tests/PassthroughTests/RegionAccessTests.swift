import LinuxSystem
import PCI
import SystemPackage
import TestSupport
import Testing

@testable import Passthrough

@Suite("Regions of a session's device") struct RegionAccessTests {
    private static let page = 4096

    /// What was written to BARs, in order.
    private final class Writes: Sendable {
        struct Write: Equatable {
            let offset: Int
            let count: Int
        }

        private let made = Lock<[Write]>([])
        var all: [Write] { made.withLock { $0 } }
        func note(_ offset: Int, _ bytes: [UInt8]) {
            made.withLock { $0.append(Write(offset: offset, count: bytes.count)) }
        }
    }

    private func errno(_ error: LeaseError?) -> Errno? {
        guard case .kernel(_, let cause) = error else { return nil }
        return cause.errno
    }

    @Test("A long access is made in pieces that end at pages, and is the same as one") func pieces() async throws {
        let writes = Writes()
        let host = try await LeaseFixture(like: { device in
            device.bars = [0: [UInt8](repeating: 0, count: 4 * RegionAccessTests.page)]
            device.onBARWrite = { _, _, offset, bytes in writes.note(offset, bytes) }
        })
        defer { host.stop() }
        try await host.attach()
        let session = try await host.begin()
        let bytes = (0..<2 * RegionAccessTests.page).map { UInt8(truncatingIfNeeded: $0 / 7) }
        try await session.write(region: 0, at: 100, bytes)
        #expect(
            writes.all == [
                .init(offset: 100, count: 3996), .init(offset: 4096, count: 4096), .init(offset: 8192, count: 100),
            ])
        #expect(try await session.read(region: 0, at: 100, count: bytes.count) == bytes)
        #expect(try await session.read(region: 0, at: 99, count: 2) == [0, bytes[0]])
        #expect(try await session.read(region: 7, at: 0, count: 256).count == 256)
    }

    @Test("An access that the device does not have all of reaches nothing") func outside() async throws {
        let writes = Writes()
        let host = try await LeaseFixture(like: { device in
            device.bars = [0: [UInt8](repeating: 0, count: 2 * RegionAccessTests.page)]
            device.onBARWrite = { _, _, offset, bytes in writes.note(offset, bytes) }
        })
        defer { host.stop() }
        try await host.attach()
        let session = try await host.begin()
        let places: [(region: Int, offset: UInt64, count: Int)] = [
            (0, 1, 2 * RegionAccessTests.page), (0, 8192, 1), (0, .max, 1), (0, .max, 2), (0, 0, 0), (1, 0, 1),
            (8, 0, 1), (-1, 0, 1), (.max, 0, 1), (7, 255, 2),
        ]
        for (region, offset, count) in places {
            let bytes = [UInt8](repeating: 1, count: count)
            #expect(
                errno(await sessionFailure { try await session.read(region: region, at: offset, count: count) })
                    == .invalidArgument)
            #expect(
                errno(await sessionFailure { try await session.write(region: region, at: offset, bytes) })
                    == .invalidArgument)
        }
        #expect(errno(await sessionFailure { try await session.read(region: 0, at: 0, count: -1) }) == .invalidArgument)
        #expect(writes.all.isEmpty)
    }

    @Test("The end of a session waits for a piece of an access, not for all of it") func ended() async throws {
        let writes = Writes()
        let (arrived, goesOn) = (try EventFD(), try EventFD())
        let host = try await LeaseFixture(like: { device in
            device.bars = [0: [UInt8](repeating: 0, count: 3 * RegionAccessTests.page)]
            device.onBARWrite = { _, _, offset, bytes in
                writes.note(offset, bytes)
                try? arrived.signal()
                goesOn.wait()
            }
        })
        defer { host.stop() }
        try await host.attach()
        let session = try await host.begin()
        let bytes = [UInt8](repeating: 1, count: 3 * RegionAccessTests.page)
        let write = Task { await sessionFailure { try await session.write(region: 0, at: 0, bytes) } }
        while arrived.drain() == 0 { await Task.yield() }
        let end = Task { await host.host.endSession(host.nic, .detached) }
        while await host.state()?.state != .ending { await Task.yield() }
        try goesOn.signal()
        guard case .ended(_, .detached) = await write.value else {
            Issue.record("the access went on after the end of its session")
            return
        }
        await end.value
        #expect(writes.all == [.init(offset: 0, count: 4096)])
    }

    @Test("A configuration space that did not answer is looked at again") func silent() async throws {
        var config = FakeConfigSpace()
        config.addMSI(encoding: 4)
        let offset = UInt64(try #require(ConfigSpace(config.bytes).capabilities.first).offset)
        let host = try await LeaseFixture(like: { $0.configuration = config.bytes })
        defer { host.stop() }
        try await host.attach()
        let session = try await host.begin()
        host.device.setAnswering(false)
        #expect(try await session.read(region: 7, at: offset, count: 4) == [0xff, 0xff, 0xff, 0xff])
        #expect(try await session.allowedMSIVectors() == nil)
        #expect(errno(await sessionFailure { try await session.write(region: 7, at: offset + 2, [0x41]) }) == .ioError)
        host.device.setAnswering(true)
        // Four vectors, and on: kept from the device, whose own says neither.
        try await session.write(region: 7, at: offset + 2, [0x21])
        #expect(try await session.allowedMSIVectors() == 4)
        #expect(try await session.read(region: 7, at: offset + 2, count: 1) == [config.bytes[Int(offset) + 2] | 0x21])
        try await session.reset()
        #expect(try await session.allowedMSIVectors() == 1)
    }
}
