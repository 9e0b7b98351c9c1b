import LinuxSystem
import SystemPackage
import TestSupport
import Testing

@testable import Passthrough

@Suite("Memory that takes long to pin") struct PinningTests {
    private static let configuration = 7
    private static let command: UInt64 = 4
    private static let busMaster: UInt8 = 4

    private func memory(_ pages: Int) throws -> MemoryFile {
        try ReceivedMemory.file(pages: pages)
    }

    /// Maps a page while the kernel does not get on with it, until the session has no more patience.
    private func mapLate(_ host: LeaseFixture, _ session: any DeviceSession, _ range: DMARange) async throws -> EventFD
    {
        let (gate, file) = (try EventFD(), try memory(1))
        host.kernel.forgetCalls()
        let isReached = Lock(false)
        host.kernel.beforeCall(0) {
            isReached.withLock { $0 = true }
            gate.wait()
        }
        let mapped = Task {
            try await session.map(range, file, at: 0, writable: true, patience: .seconds(3))
        }
        while !isReached.withLock({ $0 }) { try await Task.sleep(for: .milliseconds(1)) }
        let returned = Lock(false)
        let watch = Task {
            try await mapped.value
            returned.withLock { $0 = true }
        }
        await host.advance { returned.withLock { $0 } }
        try await watch.value
        return gate
    }

    private func setCommand(_ session: any DeviceSession, _ value: UInt8) async throws {
        try await session.write(region: PinningTests.configuration, at: PinningTests.command, [value])
    }

    private func command(_ session: any DeviceSession) async throws -> UInt8? {
        try await session.read(region: PinningTests.configuration, at: PinningTests.command, count: 1).first
    }

    @Test("A device becomes a bus master when the memory is pinned, and its guest sees no difference")
    func late() async throws {
        let host = try await LeaseFixture()
        defer { host.stop() }
        try await host.attach()
        let session = try await host.begin()
        let gate = try await mapLate(host, session, try DMARange(first: 0, size: 4096))
        try await setCommand(session, 6)
        #expect(host.device.command & 4 == 0 && host.device.command & 2 != 0)
        #expect(try await command(session) == 6)
        try gate.signal()
        while host.device.command & 4 == 0 { try await Task.sleep(for: .milliseconds(1)) }
        #expect(host.vfio.mappings.map(\.iova) == [0])
        #expect(try await command(session) == 6)
        try await session.unmap(DMARange(first: 0, size: 4096))
        #expect(host.vfio.mappings.isEmpty)
        #expect(await host.state()?.failure == nil)
    }

    @Test("A guest that takes bus mastering back before the memory is pinned does not get it")
    func takenBack() async throws {
        let host = try await LeaseFixture()
        defer { host.stop() }
        try await host.attach()
        let session = try await host.begin()
        let gate = try await mapLate(host, session, try DMARange(first: 0, size: 4096))
        try await setCommand(session, 6)
        try await setCommand(session, 2)
        try gate.signal()
        while host.vfio.mappings.isEmpty { try await Task.sleep(for: .milliseconds(1)) }
        try await session.reset()
        #expect(host.device.command & 4 == 0)
        #expect(try await command(session).map { $0 & 4 } == 0)
    }

    @Test("A device that is a bus master stays one while more is pinned")
    func already() async throws {
        let host = try await LeaseFixture()
        defer { host.stop() }
        try await host.attach()
        let session = try await host.begin()
        try await setCommand(session, 6)
        let gate = try await mapLate(host, session, try DMARange(first: 0, size: 4096))
        try await setCommand(session, 7)
        #expect(host.device.command & 7 == 7)
        try gate.signal()
    }

    @Test("Memory that cannot be pinned after all leaves the device no bus master, and the lease says so")
    func failing() async throws {
        let host = try await LeaseFixture()
        defer { host.stop() }
        try await host.attach()
        let session = try await host.begin()
        let range = try DMARange(first: 0x1000, size: 4096)
        let gate = try await mapLate(host, session, range)
        host.kernel.refuse("VFIO_IOMMU_MAP_DMA", with: .noMemory)
        try await setCommand(session, 6)
        try gate.signal()
        while await host.state()?.failure == nil { try await Task.sleep(for: .milliseconds(1)) }
        let state = try #require(await host.state())
        #expect(state.state == .inUse)
        #expect(state.failure?.hasPrefix("failed: memory: ") == true && state.failure?.contains("ENOMEM") == true)
        #expect(host.log.all.contains { $0.contains("event=session-failed") })
        #expect(host.device.command & 4 == 0)
        // Not later either, and not after a reset.
        try await session.reset()
        try await setCommand(session, 6)
        #expect(host.device.command & 4 == 0 && host.vfio.mappings.isEmpty)
        // Its owner takes it for mapped.
        try await session.unmap(range)
        await host.host.endSession(host.nic, .connectionClosed)
        #expect(await host.state()?.state == .idle)
        #expect(await host.state()?.failure == nil)
    }

    @Test("What fails in time is refused, and leaves bus mastering alone")
    func inTime() async throws {
        let host = try await LeaseFixture()
        defer { host.stop() }
        try await host.attach()
        let session = try await host.begin()
        host.kernel.refuse("VFIO_IOMMU_MAP_DMA", with: .noMemory)
        let file = try memory(1)
        let error = await sessionFailure {
            try await session.map(
                DMARange(first: 0, size: 4096), file, at: 0, writable: true, patience: .seconds(3))
        }
        guard case .kernel(_, let cause) = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(cause.errno == .noMemory)
        try await setCommand(session, 6)
        #expect(host.device.command & 4 != 0)
    }

    @Test("Memory is pinned in portions, each of which the session's end stops; what was done is undone")
    func portions() async throws {
        let host = try await LeaseFixture()
        defer { host.stop() }
        try await host.attach()
        let session = try await host.begin()
        let file = try memory(5 << 18)
        let range = try DMARange(first: 1 << 29, size: 5 << 30)
        try await session.map(range, file, at: 0, writable: true, patience: nil)
        let gibibyte: UInt64 = 1 << 30
        let begins = [gibibyte / 2] + (1...5).map { $0 * gibibyte }
        #expect(host.vfio.mappings.map(\.iova) == begins)
        #expect(host.vfio.mappings.reduce(0) { $0 + $1.size } == 5 * gibibyte)
        try await session.unmap(range)
        #expect(host.vfio.mappings.isEmpty)
        host.kernel.refuse("VFIO_IOMMU_MAP_DMA", with: .noMemory, after: 3)
        #expect(
            await sessionFailure { try await session.map(range, file, at: 0, writable: true, patience: nil) } != nil)
        #expect(host.vfio.mappings.isEmpty)
    }
}
