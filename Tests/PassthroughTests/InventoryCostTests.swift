import LinuxSystem
import PCI
import TestSupport
import Testing

@testable import Passthrough

/// Counts what is opened, listed, looked for or resolved in sysfs, on a host of any size.
@Suite("What the inventory costs", .serialized) struct InventoryCostTests {
    private static let groups = 512

    private struct Host {
        let fixture: HostFixture
        let files: FakeFiles
        let addresses: [PCIAddress]
    }

    private func host(of count: Int) throws -> Host {
        let fake = try FakeHost()
        fake.addDriver("e1000e", matching: [])
        var addresses: [PCIAddress] = []
        for number in 0..<count {
            let (bus, slot) = (number / 256, number % 256)
            let address = PCIAddress(domain: 0, bus: UInt8(bus), device: UInt8(slot / 8), function: UInt8(slot % 8))
            addresses.append(try #require(address))
        }
        for (number, address) in addresses.enumerated() {
            fake.addFunction(address, driver: "e1000e", iommuGroup: number % InventoryCostTests.groups)
        }
        let files = FakeFiles()
        return Host(fixture: try HostFixture(fake, files: files), files: files, addresses: addresses)
    }

    @Test(
        "A function costs the same opens at first, an event those of one function, and List none",
        arguments: [10, 1024])
    func opens(count: Int) async throws {
        let host = try host(of: count)
        let (fixture, files) = (host.fixture, host.files)
        #expect(host.addresses.count == count)
        await fixture.host.takeInventory()
        // 15 a function, and once the directory of slots.
        #expect(files.opens.count == 15 * count + 1)

        files.forgetOpens()
        let listed = try await fixture.host.list()
        #expect(listed.count == count && listed.allSatisfy { $0.interrupts.legacy == 1 && $0.driver == "e1000e" })
        #expect(Set(listed.compactMap(\.iommuGroup)).count == min(count, Self.groups))
        #expect(files.opens.isEmpty)

        let device = try #require(host.addresses.last)
        let unbind = fixture.fake.root + "/sys/bus/pci/drivers/e1000e/unbind"
        try fixture.fake.write("\(device)", to: unbind)
        await fixture.wait { (try? await fixture.device(device)?.driver) == .some(nil) }
        #expect(files.opens.count == 14)
        #expect(files.opens.allSatisfy { $0.contains(device.description) })

        files.forgetOpens()
        fixture.fake.removeFunction(device)
        // The look whether there is another one by now comes after.
        await fixture.wait { (try? await fixture.device(device)) == nil && !files.opens.isEmpty }
        #expect(files.opens.count == 1)

        files.forgetOpens()
        fixture.fake.addFunction(device, iommuGroup: 1)
        await fixture.wait { (try? await fixture.device(device)?.interrupts.legacy) == 1 }
        #expect(files.opens.count == 15)
        #expect(try await fixture.host.list().count == count)
    }
}
