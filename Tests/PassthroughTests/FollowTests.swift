import LinuxSystem
import PCI
import SystemPackage
import TestSupport
import Testing

@testable import Passthrough

/// What one who follows the devices was told.
private final class Follower: Sendable {
    let devices: [DeviceStatus]
    private let told = Lock<[DeviceEvent]>([])
    private let task: Lock<Task<Void, Never>?>

    init(_ feed: DeviceFeed) {
        devices = feed.devices
        task = Lock(nil)
        let reading = Task { [weak self] in
            for await event in feed.events { self?.told.withLock { $0.append(event) } }
        }
        task.withLock { $0 = reading }
    }

    func leave() { task.withLock { $0 }?.cancel() }

    deinit { leave() }

    var events: [DeviceEvent] { told.withLock { $0 } }

    func events(of address: PCIAddress) -> [DeviceEvent] { events.filter { $0.address == address } }

    func kinds(of address: PCIAddress) -> [DeviceEvent.Kind] { events(of: address).map(\.kind) }
}

@Suite("Following the devices", .serialized) struct FollowTests {
    let fixture: HostFixture
    let added: PCIAddress
    var fake: FakeHost { fixture.fake }
    var nic: PCIAddress { fixture.nic }

    init() throws {
        fixture = try HostFixture()
        added = try #require(PCIAddress("0000:05:00.0"))
    }

    private func follow() async throws -> Follower { Follower(try await fixture.host.follow()) }

    private func remaining(_ count: Int) async { await fixture.wait { fixture.host.followers.count == count } }

    @Test("The devices as they are come first, and an operation is told from its beginning to its end")
    func operation() async throws {
        let follower = try await follow()
        #expect(follower.devices.map(\.summary) == (try await fixture.host.list()))
        #expect(follower.devices.first?.summary.state == .available)
        _ = try await fixture.bind()
        await fixture.wait { follower.kinds(of: nic).contains(.operationEnded) }
        let events = follower.events(of: nic)
        #expect(events.first?.kind == .operationBegun && events.first?.status?.summary.state == .busy)
        #expect(events.first?.operation?.name == "bind" && events.first?.status?.operation?.step == "plan")
        #expect(
            events.filter { $0.kind == .operationStep }.map(\.operation?.step) == [
                "record", "driver_override", "unbind", "probe",
            ])
        #expect(events.contains { $0.kind == .changed && $0.status?.summary.driver == "vfio-pci" })
        let ended = events.last { $0.kind == .operationEnded }
        #expect(ended?.failure == nil && ended?.status?.operation == nil && ended?.operation?.step == "probe")
        #expect(ended?.status?.summary.state == .bound && ended?.status?.summary.driver == "vfio-pci")
        _ = try await fixture.restore()
        await fixture.wait { follower.kinds(of: nic).count { $0 == .operationEnded } == 2 }
        #expect(follower.events(of: nic).last { $0.kind == .operationEnded }?.status?.summary.state == .available)
        let later = try await follow()
        #expect(later.devices.map(\.summary) == (try await fixture.host.list()))
    }

    @Test("An operation that fails says why") func failedOperation() async throws {
        let follower = try await follow()
        fake.failWrite(2, with: .resourceBusy)
        _ = await failure(of: { try await fixture.bind() })
        await fixture.wait { follower.kinds(of: nic).contains(.operationEnded) }
        let ended = try #require(follower.events(of: nic).last { $0.kind == .operationEnded })
        guard case .kernel(nic, "unbind", let error, _)? = ended.failure else {
            Issue.record("failed with \(String(describing: ended.failure))")
            return
        }
        #expect(error.errno == .resourceBusy)
        #expect(ended.status?.summary.state == .available && ended.status?.summary.driver == "e1000e")
    }

    @Test("A device that comes, is known better, and goes, is told so in this order") func hotPlug() async throws {
        let follower = try await follow()
        var config = FakeConfigSpace()
        config.addMSIX(vectors: 5)
        fake.addFunction(added, driver: "e1000e", iommuGroup: 8, config: config.bytes)
        await fixture.wait { follower.events(of: added).last?.status?.summary.interrupts.msix == 5 }
        #expect(follower.kinds(of: added).first == .added)
        #expect(follower.events(of: added).first?.status?.summary.iommuGroup == 8)
        #expect(follower.kinds(of: added).dropFirst().allSatisfy { $0 == .changed })
        fake.removeFunction(added)
        await fixture.wait { follower.kinds(of: added).last == .removed }
        #expect(follower.events(of: added).last?.status == nil)
        // Nothing was said of a device to which nothing happened.
        #expect(follower.events(of: nic).isEmpty)
    }

    @Test("A bound device that is removed stays as gone, and its record's closing is told") func gone() async throws {
        _ = try await fixture.bind()
        let follower = try await follow()
        fake.removeFunction(nic)
        await fixture.wait { follower.kinds(of: nic).contains(.operationEnded) }
        #expect(
            follower.kinds(of: nic).filter { $0 != .operationStep } == [.removed, .operationBegun, .operationEnded])
        #expect(follower.events(of: nic).allSatisfy { $0.status == nil || $0.status?.summary.state == .gone })
        #expect(follower.events(of: nic).first?.status?.summary.state == .gone)
        #expect(follower.events(of: nic).last?.operation?.name == "close")
    }

    @Test("Virtual functions are told of, and so is how many their physical function has") func virtualFunctions()
        async throws
    {
        fake.set(nic, "sriov_totalvfs", "7\n")
        let follower = try await follow()
        #expect(follower.devices.first?.virtualFunctions == 0)
        fake.addFunction(added, iommuGroup: 20)
        fake.makeVirtual(added, of: nic, number: 0)
        await fixture.wait { follower.events(of: nic).last?.status?.virtualFunctions == 1 }
        fake.removeFunction(added)
        await fixture.wait { follower.events(of: nic).last?.status?.virtualFunctions == 0 }
        #expect(follower.kinds(of: added).first == .added && follower.kinds(of: added).last == .removed)
        #expect(follower.kinds(of: nic) == [.changed, .changed])
    }

    @Test("Drift is told when it begins and when it ends, and who comes later sees it") func drift() async throws {
        fake.addFunction(added, vendor: 0x1234, device: 0x11e8, iommuGroup: 3)
        _ = try await fixture.bind()
        let follower = try await follow()
        fake.addDriver("edu_driver", matching: [added])
        try fake.write("\(added)", to: fake.root + "/sys/bus/pci/drivers_probe")
        await fixture.wait { follower.kinds(of: nic).contains(.driftBegun) }
        #expect(follower.events(of: nic).first { $0.kind == .driftBegun }?.drift?.member == added)
        let later = try await follow()
        #expect(later.devices.first { $0.summary.address == nic }?.drift.map(\.member) == [added])
        fake.removeFunction(added)
        await fixture.wait { follower.kinds(of: nic).contains(.driftEnded) }
        #expect(try await follow().devices.allSatisfy(\.drift.isEmpty))
    }

    @Test("One who does not take the events is told no more, holds up nobody, and keeps no more than the queue")
    func slow()
        async throws
    {
        let feed = try await fixture.host.follow()
        let attentive = try await follow()
        #expect(fixture.host.followers.count == 2)
        let limit = DeviceFollowers.queueLength
        for number in 0..<limit + 3 {
            fixture.host.followers.tell(DeviceEvent(.changed, number == 0 ? added : nic))
            await fixture.wait { attentive.events.count == number + 1 }
        }
        #expect(fixture.host.followers.count == 1)
        var taken: [PCIAddress] = []
        for await event in feed.events { taken.append(event.address) }
        #expect(taken == [added] + Array(repeating: nic, count: limit - 1))
    }

    @Test("Many follow, all are told the same, and each that leaves is forgotten at once") func many() async throws {
        var followers: [Follower] = []
        for _ in 0..<50 { followers.append(try await follow()) }
        #expect(fixture.host.followers.count == 50)
        _ = try await fixture.bind()
        for follower in followers { await fixture.wait { follower.kinds(of: nic).contains(.operationEnded) } }
        let kinds = followers.map { $0.kinds(of: nic) }
        #expect(Set(kinds).count == 1)
        for follower in followers.prefix(20) { follower.leave() }
        await remaining(30)
        followers = []
        await remaining(0)
        // One who never began to take events is forgotten too.
        do { _ = try await fixture.host.follow() }
        await remaining(0)
    }
}
