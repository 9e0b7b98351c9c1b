import LinuxSystem
import PCI
import SystemPackage
import TestSupport
import Testing

@testable import Passthrough

/// A host with a network card that makes virtual functions, a second card, and one whose driver nobody has.
@Suite("What the configuration asks", .serialized) struct ApplyTests {
    let fake: FakeHost
    let nic: PCIAddress
    let other: PCIAddress
    let functions: [PCIAddress]
    let log = HostFixture.Lines()

    init() throws {
        fake = try FakeHost()
        nic = try #require(PCIAddress("0000:00:11.0"))
        other = try #require(PCIAddress("0000:00:12.0"))
        functions = (0..<7).compactMap(FakeHost.virtualFunction)
        fake.addDriver("e1000e", matching: [nic, other])
        fake.addFunction(nic, driver: "e1000e", iommuGroup: 3)
        fake.makePhysical(nic)
        fake.addFunction(other, driver: "e1000e", iommuGroup: 4)
    }

    private func device(_ name: String, _ address: PCIAddress, _ provision: Provision) -> NamedDevices.Device {
        var identity = DeviceIdentity()
        identity.address = address
        return NamedDevices.Device(name: name, identity: identity, provision: provision)
    }

    private var wanted: NamedDevices {
        NamedDevices(devices: [
            device("vf", functions[1], Provision(isBound: true)),
            device("card", other, Provision(isBound: true)),
            device("pf", nic, Provision(virtualFunctions: 2)),
        ])
    }

    private func apply(
        _ fixture: HostFixture, _ names: NamedDevices, dryRun: Bool = false
    ) async -> [String] {
        await fixture.host.apply(names, dryRun: dryRun, progress: fixture.progress).map { applied in
            let outcome =
                switch applied.outcome {
                case .unchanged: "unchanged"
                case .done: "done"
                case .planned(let plan): "planned \(plan.steps.count)"
                case .failed(let error): "failed: \(error.clause)"
                }
            return "\(applied.name) \(applied.action.rawValue) \(outcome)"
        }
    }

    private func settings() -> [[String: String]] { [nic, other].map(fake.settings) }

    @Test(
        "virtual functions first, then what is bound, though it stands before; again changes nothing; none gives all back"
    )
    func whole() async throws {
        let before = settings()
        let fixture = try HostFixture(fake)
        #expect(
            await apply(fixture, wanted, dryRun: true)
                == ["pf virtual-functions planned 3", "vf bind failed: there is no such device", "card bind planned 4"])
        #expect(fake.writes.isEmpty)
        #expect(
            await apply(fixture, wanted) == ["pf virtual-functions done", "vf bind done", "card bind done"])
        #expect(fake.driver(of: functions[1]) == "vfio-pci" && fake.driver(of: other) == "vfio-pci")
        #expect(try await fixture.device(other)?.configuredName == "card")
        let writes = fake.writes.count
        #expect(
            await apply(fixture, wanted)
                == ["pf virtual-functions unchanged", "vf bind unchanged", "card bind unchanged"])
        #expect(fake.writes.count == writes)
        #expect(fixture.lines.all.contains { $0.hasPrefix("card: ") })
        let restores = ["card restore", "vf restore", "pf restore"]
        // Another vfiod knows from the records what was applied.
        let next = try HostFixture(fake)
        _ = try await next.host.recover()
        #expect(
            await apply(next, NamedDevices(), dryRun: true).map {
                $0.split(separator: " ").prefix(2).joined(separator: " ")
            } == restores)
        #expect(await apply(next, NamedDevices()) == restores.map { "\($0) done" })
        #expect(settings() == before)
        #expect(await apply(next, NamedDevices()) == [])
    }

    @Test("one that fails keeps no other from what it is to be, and what was bound by hand is left alone")
    func failure() async throws {
        let fixture = try HostFixture(fake)
        _ = try await fixture.bind(other)
        fake.setRefusal("vfio-pci", of: functions[0])
        var names = wanted
        names.devices.insert(device("first", functions[0], Provision(isBound: true)), at: 0)
        names.devices.insert(device("lost", try #require(PCIAddress("0000:00:1e.0")), Provision(isBound: true)), at: 1)
        let applied = await apply(fixture, names)
        #expect(applied[0] == "pf virtual-functions done")
        #expect(applied[1].hasPrefix("first bind failed: probe failed"))
        #expect(
            Array(applied[2...]) == [
                "lost bind failed: there is no such device", "vf bind done", "card bind unchanged",
            ])
        // The card was bound by hand, so it stays; the one that cannot be told now stays too.
        var left = NamedDevices(devices: [device("lost", nic, Provision(virtualFunctions: 2))])
        #expect(await apply(fixture, left) == ["vf restore done", "lost virtual-functions unchanged"])
        #expect(fake.driver(of: other) == "vfio-pci")
        left.devices = [device("pf", nic, Provision(virtualFunctions: 3))]
        #expect(await apply(fixture, left) == ["pf virtual-functions done"])
        #expect(fake.settings(of: nic)["sriov_numvfs"] == "3\n")
        _ = try await fixture.restore()
        #expect(fake.settings(of: nic)["sriov_numvfs"] == "0\n")
    }

    @Test("a blocker refuses one device unless the configuration names it")
    func consent() async throws {
        fake.addInterface("eth0", on: other)
        let addresses = [InterfaceAddress(interface: "eth0", address: "10.0.0.2")]
        let fixture = try HostFixture(fake, addresses: addresses)
        var names = NamedDevices(devices: [device("card", other, Provision(isBound: true))])
        #expect(await apply(fixture, names) == ["card bind failed: refused: network-address"])
        #expect(await apply(fixture, names, dryRun: true) == ["card bind failed: refused: network-address"])
        #expect(fake.driver(of: other) == "e1000e")
        names.devices = [device("card", other, Provision(isBound: true, consent: [Consent(.networkAddress)]))]
        #expect(await apply(fixture, names) == ["card bind done"])
    }

    private var claimed: NamedDevices {
        NamedDevices(devices: [device("card", other, Provision(isBound: true, isClaimedAtBoot: true))])
    }

    /// As udev's helper and the load of vfio-pci leave it.
    private func claim() throws {
        try fake.write("\(other)", to: fake.root + "/sys/bus/pci/drivers/e1000e/unbind")
        fake.set(other, "driver_override", "vfio-pci\n")
        try fake.write("\(other)", to: fake.root + "/sys/bus/pci/drivers_probe")
    }

    @Test("what was claimed at boot is taken up, and Restore gives it to its default driver")
    func adopted() async throws {
        try claim()
        let fixture = try HostFixture(fake, log: log, names: claimed)
        _ = try await fixture.host.recover()
        await fixture.host.adoptClaimed()
        #expect(try await fixture.state(other) == .bound)
        #expect(log.all.contains { $0.contains("event=boot-claim-adopted") })
        #expect(try await fixture.host.describe(other).recorded?["driver"] == "its default driver")
        #expect(await apply(fixture, claimed) == ["card bind unchanged"])
        _ = try await fixture.restore(other)
        #expect(fake.driver(of: other) == "e1000e")
        #expect(fake.settings(of: other)["driver_override"] == "(null)\n")
        #expect(try await fixture.state(other) == .available)
    }

    @Test("a driver that is not loaded is asked for through udev, and none at all is no failure")
    func noDriver() async throws {
        try claim()
        let fake = fake, other = other
        fake.set(other, "uevent", "")
        let fixture = try HostFixture(fake, log: log, names: claimed)
        await fixture.host.adoptClaimed()
        fake.setRefusal("e1000e", of: other)
        fake.afterWrite { _ in
            if fake.writes.last?.attribute.hasSuffix("/uevent") == true { fake.setRefusal("e1000e", of: other, false) }
        }
        _ = try await fixture.restore(other)
        #expect(fake.writes.last?.value == "change")
        #expect(fixture.lines.all.contains("no driver came for \(other)"))
        #expect(try await fixture.state(other) == .available)
    }

    @Test("killed around each step of giving a claimed device back, the next vfiod gives it back")
    func killed() async throws {
        try claim()
        fake.set(other, "uevent", "")
        let crashes = Lock<[(StopPoint, FakeHost)]>([])
        let fixture = try HostFixture(fake, names: claimed) { [weak fake] point in
            guard let copy = fake.flatMap({ try? FakeHost(copying: $0) }) else { return }
            crashes.withLock { $0.append((point, copy)) }
        }
        await fixture.host.adoptClaimed()
        fake.setRefusal("e1000e", of: other)
        _ = try await fixture.restore(other)
        let all = crashes.withLock { $0 }
        #expect(Set(all.map(\.0.step)).isSuperset(of: [.record, .restoring, .probe, .uevent]))
        for (point, host) in all where point.operation == "restore" {
            // All is done by then, and no driver had come.
            if (point.step, point.moment) == (.forget, .after) { continue }
            let isBegun = (point.step, point.moment) != (.restoring, .before)
            host.setRefusal("e1000e", of: other, false)
            let next = try HostFixture(host)
            _ = try await next.host.recover()
            await next.host.settled(other)
            #expect(try await next.state(other) == (isBegun ? .available : .bound), "\(point)")
            if !isBegun { _ = try await next.restore(other) }
            #expect(host.driver(of: other) == "e1000e", "\(point)")
            #expect(host.settings(of: other)["driver_override"] == "(null)\n", "\(point)")
        }
    }

    @Test("what was not claimed is said with the driver that has it, or with why it was not found")
    func missed() async throws {
        var names = claimed
        names.devices.append(
            device("lost", try #require(PCIAddress("0000:00:1e.0")), Provision(isBound: true, isClaimedAtBoot: true)))
        let fixture = try HostFixture(fake, log: log, names: names)
        await fixture.host.adoptClaimed()
        let missed = log.all.filter { $0.contains("event=boot-claim-missed") }
        #expect(
            missed.count == 2 && missed[0].contains("e1000e has it") && missed[1].contains("there is no such device"))
        #expect(try await fixture.state(other) == .available && fake.writes.isEmpty)
    }

    @Test("a device that is bound and has virtual functions is bound first; one that is refused has none made")
    func divided() async throws {
        let before = settings()
        let kernel = FakeKernel()
        let vfio = FakeVFIO()
        vfio.add(FakeVFIODevice("\(nic)", .init(msixCount: 1)), iommuGroup: 3)
        vfio.makeVirtual("\(functions[1])", of: "\(nic)")
        kernel.install(vfio, at: "/dev/vfio/")
        let fixture = try HostFixture(fake, kernel: kernel)
        let names = NamedDevices(devices: [
            device("vf", functions[1], Provision(isBound: true)),
            device("pf", nic, Provision(isBound: true, virtualFunctions: 2)),
        ])
        fake.set("/sys/module/vfio_pci/parameters/enable_sriov", "Y\n")
        fake.addInterface("eth0", on: nic, below: ["bond0"])
        #expect(await apply(fixture, names).first?.hasPrefix("pf bind failed") == true)
        #expect(settings() == before)
        fake.remove("/sys/class/net/eth0")
        fake.remove("/sys/devices/pci0000:00/\(nic)/net")
        #expect(
            await apply(fixture, names, dryRun: true).prefix(2)
                == ["pf bind planned 4", "pf virtual-functions planned 3"])
        #expect(settings() == before)
        #expect(await apply(fixture, names) == ["pf bind done", "pf virtual-functions done", "vf bind done"])
        #expect(fake.driver(of: nic) == "vfio-pci" && fake.driver(of: functions[1]) == "vfio-pci")
        #expect(
            await apply(fixture, names) == ["pf bind unchanged", "pf virtual-functions unchanged", "vf bind unchanged"])
        #expect(await apply(fixture, NamedDevices()) == ["vf restore done", "pf restore done"])
        #expect(settings() == before)
    }
}
