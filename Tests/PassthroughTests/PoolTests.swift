import LinuxSystem
import PCI
import SystemPackage
import TestSupport
import Testing

@testable import Passthrough

@Suite("Pools", .serialized) struct PoolTests {
    let fake: FakeHost
    let fixture: HostFixture
    let nics: [PCIAddress]

    init() throws {
        fake = try FakeHost()
        nics = try (1...4).map { try #require(PCIAddress("0000:00:1\($0).0")) }
        fake.addDriver("e1000e", matching: Set(nics))
        for (number, nic) in nics.enumerated() { fake.addFunction(nic, driver: "e1000e", iommuGroup: 10 + number) }
        // The first is the host's own.
        fake.addInterface("eth0", on: nics[0])
        let members = ["uplink", "0000:00:13.0", "id=8086:10d3", "address=0000:7f:00.0", "id=1234:0001"]
        let names = NamedDevices(
            devices: [
                NamedDevices.Device(name: "uplink", identity: try #require(DeviceIdentity("address=0000:00:11.0"))),
                NamedDevices.Device(name: "away", identity: try #require(DeviceIdentity("slot=8"))),
            ],
            pools: [
                NamedDevices.Pool(name: "nics", members: try members.map { try #require(DeviceSelector($0)) }),
                NamedDevices.Pool(name: "lost", members: [.name("away")]),
            ])
        fixture = try HostFixture(
            fake, addresses: [InterfaceAddress(interface: "eth0", address: "10.0.0.2")], names: names)
    }

    private func bind(consent: Set<Consent> = [], dryRun: Bool = false) async throws -> PCIAddress {
        try await fixture.host.bind(
            firstFreeOf: "nics", consent: consent, dryRun: dryRun, progress: fixture.progress
        ).device
    }

    @Test("The first that is free is chosen, in the order of the pool, until none is left, and then each says why")
    func order() async throws {
        #expect(try await bind() == nics[2])
        #expect(fixture.lines.all.first == "\(nics[2]) is free")
        #expect(try await bind() == nics[1])
        #expect(try await bind() == nics[3])
        guard case .poolExhausted("nics", let members) = await failure(of: { try await bind() }) else {
            Issue.record("a device was found")
            return
        }
        #expect(
            members == [
                PassedOver("\(nics[0])", reason: "refused: network-address"),
                PassedOver("\(nics[2])", reason: "It is bound."),
                PassedOver("\(nics[1])", reason: "It is bound."), PassedOver("\(nics[3])", reason: "It is bound."),
                PassedOver("address=0000:7f:00.0", reason: "there is no such device"),
                PassedOver("id=1234:0001", reason: "there is no such device"),
            ])
        #expect(fake.driver(of: nics[0]) == "e1000e")
        _ = try await fixture.restore(nics[1])
        #expect(try await bind() == nics[1])
    }

    @Test("Consent counts, and a dry run only chooses") func consent() async throws {
        let consent: Set<Consent> = [Consent(.networkAddress)]
        #expect(try await bind(consent: consent, dryRun: true) == nics[0])
        #expect(try await bind(dryRun: true) == nics[2])
        #expect(fake.writes.isEmpty)
        #expect(try await bind(consent: consent) == nics[0])
    }

    @Test("Callers at the same time get different devices") func concurrent() async throws {
        let (host, progress) = (fixture.host, fixture.progress)
        let chosen = await withTaskGroup(of: PCIAddress?.self) { group in
            for _ in 0..<8 {
                group.addTask {
                    try? await host.bind(firstFreeOf: "nics", consent: [], dryRun: false, progress: progress).device
                }
            }
            return await group.reduce(into: [PCIAddress]()) { chosen, address in
                if let address { chosen.append(address) }
            }
        }
        #expect(chosen.sorted() == Array(nics.dropFirst(1)))
    }

    @Test("A device that is busy is passed over; one that the kernel refuses ends the call") func notFree() async throws
    {
        _ = try await fixture.bind(nics[2])
        try fake.hold(nics[2])
        Task { [fixture, nics] in _ = try? await fixture.restore(nics[2]) }
        await fixture.wait { fake.isBlocked(nics[2]) }
        #expect(try await bind() == nics[1])
        try fake.release(nics[2])
        await fixture.host.settled(nics[2])
        _ = try await fixture.bind(nics[2])
        fake.setRefusal("vfio-pci", of: nics[3])
        guard case .kernel(nics[3], "probe", _, _) = await failure(of: { try await bind() }) else {
            Issue.record("the kernel's refusal was passed over")
            return
        }
        #expect(fake.driver(of: nics[3]) == "e1000e")
    }

    @Test("A pool is told from a device, with its members; a member's name that leads nowhere is a reason")
    func target() async throws {
        guard case .pool("nics", let members) = try await fixture.host.target(of: .name("nics")) else {
            Issue.record("nics is no pool")
            return
        }
        #expect(members == ["uplink", "0000:00:13.0", "id=8086:10d3", "address=0000:7f:00.0", "id=1234:0001"])
        let outcome = await failure(of: {
            try await fixture.host.bind(firstFreeOf: "lost", consent: [], dryRun: true) { _ in }
        })
        guard case .poolExhausted("lost", [PassedOver("away", reason: "there is no such device")]) = outcome else {
            Issue.record("\(String(describing: outcome))")
            return
        }
    }
}
