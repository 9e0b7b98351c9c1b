import LinuxSystem
import PCI
import TestSupport
import Testing

@testable import Passthrough

/// A host with two network cards of one kind, of which the second has a serial number, and an edu.
@Suite("Which device is meant", .serialized) struct IdentityTests {
    static let serial = "52-54-00-ff-ff-12-34-56"
    let fake: FakeHost
    let nic: PCIAddress
    let other: PCIAddress
    let edu: PCIAddress
    let log = HostFixture.Lines()

    init() throws {
        fake = try FakeHost()
        nic = try #require(PCIAddress("0000:00:11.0"))
        other = try #require(PCIAddress("0000:00:12.0"))
        edu = try #require(PCIAddress("0000:00:13.0"))
        fake.addDriver("e1000e", matching: [nic, other])
        fake.addFunction(nic, driver: "e1000e", iommuGroup: 3)
        var config = FakeConfigSpace()
        config.addExtended(id: 0x03, words: [0xff12_3456, 0x5254_00ff])
        fake.addFunction(other, driver: "e1000e", iommuGroup: 4, config: config.bytes)
        fake.addFunction(edu, vendor: 0x1234, device: 0x11e8, iommuGroup: 5)
        fake.set("/sys/bus/pci/slots/9/address", "0000:00:12\n")
    }

    private func fixture(
        _ devices: [String: String] = [:], pools: [String: [String]] = [:], files: any FileReading = LiveFiles()
    ) throws -> HostFixture {
        var names = NamedDevices()
        for (name, text) in devices.sorted(by: { $0.key < $1.key }) {
            names.devices.append(NamedDevices.Device(name: name, identity: try #require(DeviceIdentity(text))))
        }
        for (name, members) in pools {
            names.pools.append(
                NamedDevices.Pool(name: name, members: try members.map { try #require(DeviceSelector($0)) }))
        }
        return try HostFixture(fake, files: files, log: log, names: names)
    }

    private func target(_ text: String, _ fixture: HostFixture) async throws -> PCIAddress? {
        guard case .device(let address) = try await fixture.host.target(of: try #require(DeviceSelector(text))) else {
            return nil
        }
        return address
    }

    private func error(_ text: String, _ fixture: HostFixture) async throws -> String? {
        let selector = try #require(DeviceSelector(text))
        switch await failure(of: { try await fixture.host.target(of: selector) }) {
        case nil: return nil
        case .deviceNotFound(let name): return "not found: \(name)"
        case .ambiguous(let name, let candidates): return "ambiguous: \(name): \(candidates)"
        case .identityUnknown(let name, let candidates): return "unknown: \(name): \(candidates)"
        case .identityMismatch(let name, let address, let part, let expected, let found):
            return "mismatch: \(name): \(address) \(part.rawValue) \(expected) \(found)"
        case let error?: return "\(error)"
        }
    }

    @Test("By address, serial number, slot, path, and ids as far as they tell it, each alone and together")
    func parts() async throws {
        let fixture = try fixture()
        #expect(try await target("00:11.0", fixture) == nic)
        for text in [
            "serial=\(Self.serial)", "serial=\(Self.serial.uppercased())", "slot=9", "path=00:12.0", "address=00:12.0",
            "id=8086:10d3,slot=9",
            "id=8086:10d3,serial=\(Self.serial),path=00:12.0,address=00:12.0,subsystem=1af4:1100",
        ] {
            #expect(try await target(text, fixture) == other, "\(text)")
        }
        #expect(try await target("id=1234:11e8", fixture) == edu)
        // An address needs no device: what it is asked for says whether there has to be one.
        #expect(try await target("0000:7f:00.0", fixture) == PCIAddress("0000:7f:00.0"))
    }

    @Test("Where a part differs, it is named with what it should be and what it is") func mismatch() async throws {
        let fixture = try fixture()
        let serial = "00-00-00-00-00-00-00-01"
        for (text, expected) in [
            ("address=00:12.0,id=8086:10c9", "\(other) id 8086:10c9 8086:10d3"),
            ("address=00:12.0,serial=\(serial)", "\(other) serial \(serial) \(Self.serial)"),
            ("address=00:11.0,serial=\(Self.serial)", "\(nic) serial \(Self.serial) none"),
            ("path=00:12.0,slot=4", "\(other) slot 4 9"),
            ("slot=9,subsystem=1af4:0001", "\(other) subsystem 1af4:0001 1af4:1100"),
            // Moved: it is there, but not where it should be.
            ("address=0000:07:00.0,serial=\(Self.serial)", "\(other) address 0000:07:00.0 0000:00:12.0"),
            ("path=00:1c.0/00.0,serial=\(Self.serial)", "\(other) path 0000:00:1c.0/00.0 0000:00:12.0"),
            // One of its kind.
            ("id=1234:11e8,serial=\(Self.serial),path=00:1f.0", "\(other) path 0000:00:1f.0 0000:00:12.0"),
            ("id=1234:11e8,subsystem=0000:0001", "\(edu) subsystem 0000:0001 1af4:1100"),
        ] {
            let canonical = try #require(DeviceSelector(text)).description
            #expect(try await error(text, fixture) == "mismatch: \(canonical): \(expected)")
        }
    }

    @Test("None, and several, are told apart; a kind that several have is no mismatch of one") func count() async throws
    {
        let fixture = try fixture(["cards": "id=8086:10d3"])
        for text in [
            "serial=00-00-00-00-00-00-00-01", "slot=8", "path=0000:00:1c.0/00.0", "address=0000:7f:00.0",
            "id=8086:0001", "cord",
            "serial=00-00-00-00-00-00-00-01,id=8086:10d3",
        ] {
            #expect(try await error(text, fixture) == "not found: \(text)")
        }
        #expect(try await error("id=8086:10d3", fixture) == "ambiguous: id=8086:10d3: [\(nic), \(other)]")
        #expect(try await error("cards", fixture) == "ambiguous: cards: [\(nic), \(other)]")
    }

    @Test("A serial number that is not known yet is said to be so, and is no mismatch") func unknownSerial()
        async throws
    {
        fake.addFunction(nic, driver: "e1000e", iommuGroup: 3, config: [UInt8](repeating: 0xff, count: 256))
        let fixture = try fixture(["card": "serial=00-00-00-00-00-00-00-01"])
        #expect(try await error("card", fixture) == "unknown: card: [\(nic)]")
        let text = "address=0000:00:11.0,serial=\(Self.serial)"
        #expect(try await error(text, fixture) == "unknown: \(text): [\(nic)]")
        // Where another part differs, it is not meant whatever its serial number.
        #expect(
            try await error("address=0000:00:11.0,serial=\(Self.serial),id=1234:11e8", fixture)
                == "mismatch: address=0000:00:11.0,serial=\(Self.serial),id=1234:11e8: \(nic) id 1234:11e8 8086:10d3")
        // And it keeps nobody from a device that has told.
        #expect(try await target("serial=\(Self.serial)", fixture) == other)
        #expect(try await fixture.device(nic)?.configuredName == nil)
    }

    @Test("A device that has just come is waited for, as long as for other readings") func lateSerial() async throws {
        let files = FakeFiles()
        let late = try #require(PCIAddress("0000:00:14.0"))
        let path = "\(fake.root)/sys/bus/pci/devices/\(late)/config"
        let fixture = try fixture(["card": "serial=52-54-00-ff-ff-12-34-57"], files: files)
        await fixture.host.takeInventory()
        try files.hold(path)
        var config = FakeConfigSpace()
        config.addExtended(id: 0x03, words: [0xff12_3457, 0x5254_00ff])
        fake.addFunction(late, iommuGroup: 6, config: config.bytes)
        await fixture.wait { files.waiting(for: path) > 0 }
        async let found = target("card", fixture)
        try files.release(path)
        #expect(try await found == late)
    }

    @Test("The configured name is shown where all parts agree, and follows the device") func configuredName()
        async throws
    {
        let fixture = try fixture(["card": "serial=\(Self.serial),id=8086:10d3", "edu": "slot=9,id=1234:11e8"])
        #expect(try await fixture.host.list().map(\.configuredName) == [nil, "card", nil])
        #expect(try await fixture.host.describe(other).summary.configuredName == "card")
        #expect(try await target("card", fixture) == other)
        fake.removeFunction(other)
        await fixture.wait { (try? await fixture.device(other)) == nil }
        // One of its kind is left.
        #expect(try await error("card", fixture) == "mismatch: card: \(nic) serial \(Self.serial) none")
        var config = FakeConfigSpace()
        config.addExtended(id: 0x03, words: [0xff12_3456, 0x5254_00ff])
        fake.addFunction(other, vendor: 0x1234, device: 0x11e8, iommuGroup: 4, config: config.bytes)
        await fixture.wait { (try? await fixture.device(other)?.interrupts.legacy) == 1 }
        #expect(try await fixture.device(other)?.configuredName == "edu")
        #expect(try await error("card", fixture) == "mismatch: card: \(other) id 8086:10d3 1234:11e8")
    }

    @Test("A device that is gone is still found by its name, and told to be gone") func gone() async throws {
        let fixture = try fixture(["card": "serial=\(Self.serial)"])
        await fixture.host.takeInventory()
        _ = try await fixture.bind(other)
        fake.removeFunction(other)
        await fixture.wait { (try? await fixture.state(other)) == .gone }
        #expect(try await target("card", fixture) == other)
    }
}
