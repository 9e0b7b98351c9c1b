import LinuxSystem
import PCI
import TestSupport
import Testing

@testable import Passthrough

@Suite("A device whose configuration space does not answer", .serialized) struct HungDeviceTests {
    let files = FakeFiles()
    let fixture: HostFixture
    let other: PCIAddress
    let config: String
    var nic: PCIAddress { fixture.nic }

    init() throws {
        fixture = try HostFixture(files: files)
        other = try #require(PCIAddress("0000:00:12.0"))
        fixture.fake.addFunction(other, iommuGroup: 4)
        config = "\(fixture.fake.root)/sys/bus/pci/devices/\(fixture.nic)/config"
    }

    /// What the call comes to while time passes.
    private func value<Value: Sendable>(of body: @escaping @Sendable () async -> Value) async -> Value {
        let outcome = Eventual<Value>()
        Task { outcome.resolve(await body()) }
        await fixture.advance { await outcome.value(within: .zero, on: ContinuousClock()) != nil }
        return await outcome.value()
    }

    private func details(_ address: PCIAddress) async throws -> DeviceDetails {
        let host = fixture.host
        return try #require(await value { try? await host.describe(address) })
    }

    @Test("Describe of it comes without what it keeps back, and begins no second reading") func describe() async throws
    {
        await fixture.host.takeInventory()
        try files.hold(config)
        for _ in 0..<3 {
            let details = try await details(nic)
            #expect(details.live.unread == [.config, .link, .driverOverride])
            #expect(details.live.powerControl == "on")
            #expect(details.summary.driver == "e1000e" && details.summary.interrupts.legacy == 1)
            // Time may have passed before the reading got as far as the file.
            await fixture.wait { files.waiting(for: config) > 0 }
            #expect(files.waiting(for: config) == 1)
        }
        try files.release(config)
        await fixture.wait { (try? await fixture.host.describe(nic).live.unread.isEmpty) == true }
        #expect(files.waiting(for: config) == 0)
        // A reading is taken out of the list after those who waited for it go on.
        await fixture.wait { await fixture.host.liveReadings.isEmpty }
    }

    @Test("Nobody else waits for it: neither calls about other devices, nor List, nor events") func others()
        async throws
    {
        await fixture.host.takeInventory()
        try files.hold(config)
        let host = fixture.host
        let hung = Eventual<DeviceDetails?>()
        Task { hung.resolve(try? await host.describe(nic)) }
        await fixture.wait { files.waiting(for: config) == 1 }
        // Time stands still, so whatever waits for the deadline waits for ever.
        #expect(try await host.describe(other).live.unread.isEmpty)
        #expect(try await host.list().count == 2)
        #expect(try await host.interrupts(nic).count == 3)
        _ = try await fixture.bind(other)
        #expect(try await fixture.device(other)?.driver == "vfio-pci")
        try fixture.fake.write("\(nic)", to: fixture.fake.root + "/sys/bus/pci/drivers/e1000e/unbind")
        await fixture.wait { (try? await fixture.device()?.driver) == .some(nil) }
        try files.release(config)
        #expect(await hung.value()?.live.unread.isEmpty == true)
    }

    @Test("The first inventory does without it after the deadline, and has its vectors once it answers") func first()
        async throws
    {
        try files.hold(config)
        let (host, other) = (fixture.host, other)
        let outcome = Eventual<[DeviceSummary]?>()
        Task { outcome.resolve(try? await host.list()) }
        // Time moves only once the other device has answered.
        await fixture.wait {
            let isRead = await host.inventory[other]?.configuration != nil
            return isRead && files.waiting(for: config) == 1
        }
        let listed = try #require(await value { await outcome.value() })
        #expect(listed.map(\.interrupts.legacy) == [0, 1])
        #expect(listed.first?.driver == "e1000e")
        try files.release(config)
        await fixture.wait { (try? await fixture.device()?.interrupts.legacy) == 1 }
    }

    @Test("A device that comes to the address of one that never answered is read itself") func replaced() async throws {
        try files.hold(config)
        let host = fixture.host
        _ = await value { try? await host.list() }
        fixture.fake.removeFunction(nic)
        await fixture.wait { (try? await fixture.device()) == nil }
        var other = FakeConfigSpace()
        other.addMSIX(vectors: 9)
        fixture.fake.addFunction(nic, device: 0x1533, iommuGroup: 3, config: other.bytes)
        await fixture.wait { (try? await fixture.device()?.deviceID) == 0x1533 }
        try files.release(config)
        await fixture.wait { (try? await fixture.device()?.interrupts.msix) == 9 }
    }

    @Test("A device that nobody works on or reads has no thread") func lanes() async throws {
        let address = try #require(PCIAddress("00ab:cd:1e.7"))
        fixture.fake.addFunction(address, iommuGroup: 5)
        _ = try await fixture.bind(address)
        _ = try await fixture.host.describe(address)
        _ = try await fixture.restore(address)
        // The kernel keeps 15 bytes of a thread's name; the address has 12.
        await fixture.wait { threadNames().allSatisfy { $0 != address.description } }
    }

    private func threadNames() -> [String] {
        ((try? listDirectory("/proc/self/task")) ?? []).compactMap { try? readText("/proc/self/task/\($0)/comm") }
    }
}
