import LinuxSystem
import PCI
import SystemPackage
import TestSupport
import Testing

@testable import Passthrough

@Suite("Reset of a function", .serialized) struct ResetTests {
    let fixture: HostFixture
    var fake: FakeHost { fixture.fake }
    var nic: PCIAddress { fixture.nic }

    init() async throws {
        fixture = try HostFixture()
        _ = try await fixture.bind()
    }

    private var config: [UInt8] { fake.bytes(nic, "config") }

    /// What was written to attributes of the device since `earlier` writes.
    private func writes(since earlier: Int) -> [String] {
        fake.writes.dropFirst(earlier).map { "\($0.attribute.split(separator: "/").last ?? "")=\($0.value)" }
    }

    /// From now on the device is as `change` makes it, once it was reset.
    private func afterReset(_ change: @escaping @Sendable (FakeHost, PCIAddress) -> Void) {
        let (nic, name) = (nic, "devices/\(nic)/reset")
        fake.afterWrite { [weak fake] number in
            guard let fake, fake.writes[number - 1].attribute == name else { return }
            change(fake, nic)
        }
    }

    private func quarantine(of error: PassthroughError?) -> String? {
        guard case .quarantined(nic, let reason) = error else {
            Issue.record("\(String(describing: error))")
            return nil
        }
        return reason
    }

    @Test("The first method is written, used, and put back as it was") func first() async throws {
        let settings = fake.settings(of: nic)
        let earlier = fake.writes.count
        let plan = try await fixture.reset()
        #expect(writes(since: earlier) == ["reset_method=flr", "reset=1", "reset_method=flr pm"])
        #expect(plan.steps.map(\.value) == ["flr", "1", "flr pm", "8086:10d3"])
        #expect(fake.resets == ["\(nic) flr"])
        #expect(fake.settings(of: nic) == settings)
        #expect(try await fixture.state() == .bound)
        #expect(fake.content(fixture.recordPath)?.contains("\"method\"") == false)
        #expect(fixture.lines.all.contains("resetting \(nic) by flr"))
    }

    @Test("Another method is used where it is named") func named() async throws {
        _ = try await fixture.reset(method: "pm")
        #expect(fake.resets == ["\(nic) pm"])
    }

    @Test("The only method needs no writing") func only() async throws {
        fake.set(nic, "reset_method", "flr\n")
        let earlier = fake.writes.count
        _ = try await fixture.reset()
        #expect(writes(since: earlier) == ["reset=1"])
    }

    @Test(
        "A method that it has not is refused with those it has", arguments: ["bus", "", "FLR", "flr pm", "\n", "../x"])
    func unknown(method: String) async throws {
        let earlier = fake.writes.count
        for dryRun in [true, false] {
            guard
                case .noSuchResetMethod(nic, method, ["flr", "pm"]) = await failure(of: {
                    try await fixture.reset(method: method, dryRun: dryRun)
                })
            else {
                Issue.record("reset by \(method)")
                return
            }
        }
        #expect(fake.writes.count == earlier)
        #expect(try await fixture.state() == .bound)
    }

    @Test("A plan and a dry run change nothing") func dryRun() async throws {
        let earlier = fake.writes.count
        let plan = try await fixture.host.plan(.reset, nic)
        #expect(plan.steps.map(\.action) == ["write", "write", "write", "verify"])
        #expect(plan.blockers.isEmpty)
        #expect(try await fixture.reset(dryRun: true) == plan)
        #expect(fake.writes.count == earlier && fake.resets.isEmpty)
    }

    @Test("What vfiod has not bound, or what is gone, is not reset") func wrongState() async throws {
        _ = try await fixture.restore()
        guard case .wrongState(nic, "available", "bound", _) = await failure(of: { try await fixture.reset() }) else {
            Issue.record("reset of what is not bound")
            return
        }
        let nobody = try #require(PCIAddress("0000:00:1f.7"))
        guard case .deviceNotFound = await failure(of: { try await fixture.reset(nobody) }) else {
            Issue.record("reset of what is not there")
            return
        }
        #expect(fake.resets.isEmpty)
    }

    @Test("A device that a process holds is not reset, and the plan says who") func held() async throws {
        fake.addProcess(77, command: "qemu", open: ["/dev/vfio/3"])
        #expect(try await fixture.reset(dryRun: true).blockers.map(\.code) == [.held])
        guard case .refused(nic, "reset", let blockers) = await failure(of: { try await fixture.reset() }) else {
            Issue.record("reset of what is held")
            return
        }
        #expect(blockers.map(\.code) == [.held] && blockers.first?.message.contains("qemu") == true)
        #expect(fake.resets.isEmpty)
        #expect(try await fixture.state() == .bound)
    }

    @Test(
        "What the kernel refuses is named, and a device that is whole all the same is not quarantined",
        arguments: [
            (1, Errno.invalidArgument, "reset_method"), (1, .ioError, "reset_method"),
            (2, .inappropriateIOCTLForDevice, "reset"),
            (2, .invalidArgument, "reset"), (2, .notPermitted, "reset"), (2, .resourceTemporarilyUnavailable, "reset"),
            (3, .ioError, "reset_method"),
        ])
    func refused(number: Int, errno: Errno, step: String) async throws {
        let settings = fake.settings(of: nic)
        fake.failWrite(number, with: errno)
        guard case .kernel(nic, step, let error, _) = await failure(of: { try await fixture.reset() }) else {
            Issue.record("write \(number) refused with \(errno)")
            return
        }
        #expect(error.errno == errno)
        #expect(try await fixture.state() == .bound)
        // What could not be put back is known to Restore.
        if number < 3 { #expect(fake.settings(of: nic) == settings) }
        _ = try await fixture.restore()
        #expect(fake.settings(of: nic)["reset_method"] == "flr pm\n")
    }

    @Test("A reset that may have stopped half-way quarantines", arguments: [Errno.ioError, .timedOut, .interrupted])
    func halfWay(errno: Errno) async throws {
        let settings = fake.settings(of: nic)
        fake.failWrite(2, with: errno)
        let reason = quarantine(of: await failure { try await fixture.reset() })
        #expect(reason?.contains("flr") == true && reason?.contains(errno.name) == true)
        #expect(try await fixture.state() == .quarantined)
        #expect(try await fixture.host.describe(nic).quarantine == reason)
        #expect(fake.settings(of: nic) == settings)
    }

    @Test("A device that comes back otherwise than it was is quarantined", arguments: Damage.allCases)
    func damaged(damage: Damage) async throws {
        afterReset { damage.apply($0, $1) }
        let reason = quarantine(of: await failure { try await fixture.reset() })
        #expect(reason?.contains(damage.words) == true, "\(reason ?? "no reason")")
        #expect(try await fixture.state() == .quarantined)
        #expect(fake.content(fixture.recordPath)?.contains("\"quarantine\"") == true)
    }

    /// What a reset can leave behind.
    enum Damage: CaseIterable {
        case allOnes, otherVendor, otherDevice, reservedBits, busMaster, cutShort, noDriver

        func apply(_ fake: FakeHost, _ address: PCIAddress) {
            var config = fake.bytes(address, "config")
            switch self {
            case .allOnes: config = [UInt8](repeating: 0xff, count: 256)
            case .otherVendor: config.replaceSubrange(0..<2, with: [0xff, 0xff])
            case .otherDevice: config[3] ^= 1
            case .reservedBits: config[5] = 0xf8
            case .busMaster: config[4] |= 4
            case .cutShort: config = [0x86]
            case .noDriver: fake.remove("/sys/devices/pci0000:00/\(address)/driver")
            }
            fake.setConfig(address, config)
        }

        var words: String {
            switch self {
            case .allOnes: "reads as all ones"
            case .otherVendor: "ffff:10d3 instead of 8086:10d3"
            case .otherDevice: "instead of 8086:10d3"
            case .reservedBits: "0xf800"
            case .busMaster: "DMA"
            case .cutShort: "cannot be read"
            case .noDriver: "driver is none instead of vfio-pci"
            }
        }
    }

    @Test("One that the kernel refused to reset, and that does not answer, is quarantined with both") func both()
        async throws
    {
        fake.setConfig(nic, [UInt8](repeating: 0xff, count: 256))
        fake.failWrite(2, with: .inappropriateIOCTLForDevice)
        let reason = quarantine(of: await failure { try await fixture.reset() })
        #expect(reason?.contains("ENOTTY") == true && reason?.contains("all ones") == true)
    }

    @Test("A bus master that its host driver left so stays one") func busMaster() async throws {
        var config = config
        config[4] |= 4
        fake.setConfig(nic, config)
        _ = try await fixture.reset()
        #expect(try await fixture.state() == .bound)
    }

    @Test("A virtual function is known by what it has in place of ids") func virtual() async throws {
        let (physical, function) = try (
            #require(PCIAddress("0000:01:00.0")), #require(PCIAddress("0000:01:10.0"))
        )
        fake.addFunction(physical, device: 0x10c9, driver: "igb", iommuGroup: 8)
        fake.addFunction(function, device: 0x10ca, iommuGroup: 9)
        fake.makeVirtual(function, of: physical, number: 0)
        _ = try await fixture.bind(function)
        _ = try await fixture.reset(function)
        #expect(fake.resets == ["\(function) flr"])
        #expect(try await fixture.state(function) == .bound)
        fake.setConfig(function, [UInt8](repeating: 0xff, count: 256))
        guard case .quarantined(function, _) = await failure(of: { try await fixture.reset(function) }) else {
            Issue.record("a virtual function that is gone counts as whole")
            return
        }
    }

    @Test("Without any method it is said so, and with consent the device is looked at") func none() async throws {
        fake.removeResets(of: nic)
        let details = try await fixture.host.describe(nic)
        #expect(details.notes.map(\.code) == [.noReset] && details.resetMethods.isEmpty)
        #expect(try await fixture.reset(dryRun: true).steps.map(\.action) == ["verify"])
        guard case .refused(nic, "reset", let blockers) = await failure(of: { try await fixture.reset() }) else {
            Issue.record("reset of what cannot be")
            return
        }
        #expect(blockers.map(\.code) == [.noReset] && blockers.first?.consent == Consent(.noReset))
        guard case .noSuchResetMethod(nic, "flr", []) = await failure(of: { try await fixture.reset(method: "flr") })
        else {
            Issue.record("reset by what is not there")
            return
        }
        let earlier = fake.writes.count
        _ = try await fixture.reset(consent: [Consent(.noReset)])
        #expect(fake.writes.count == earlier)
        fake.setConfig(nic, [UInt8](repeating: 0xff, count: 256))
        _ = quarantine(of: await failure { try await fixture.reset(consent: [Consent(.noReset)]) })
        #expect(fake.content(fixture.recordPath)?.contains("\"quarantine\"") == true)
    }

    @Test("Nothing is reset that cannot be recorded") func unrecorded() async throws {
        // A directory cannot be replaced by a file.
        fake.remove(fixture.recordPath)
        fake.set("\(fixture.recordPath)/in-the-way", "")
        guard case .kernel(nic, "record", _, _) = await failure(of: { try await fixture.reset() }) else {
            Issue.record("reset without a record")
            return
        }
        #expect(fake.resets.isEmpty)
        #expect(try await fixture.state() == .bound)
    }

    @Test("A reset that does not end is left to itself, and holds up nobody else") func hanging() async throws {
        try fake.hold(nic, .reset)
        let (host, fixture) = (fixture.host, fixture)
        let outcome = Eventual<PassthroughError?>()
        Task { outcome.resolve(await failure { try await fixture.reset() }) }
        await fixture.wait { !fake.resets.isEmpty }
        await fixture.advance { await outcome.value(within: .zero, on: ContinuousClock()) != nil }
        guard case .stillRunning(nic, "reset", "reset", let cause) = await outcome.value() else {
            Issue.record("\(String(describing: await outcome.value()))")
            return
        }
        #expect(cause.contains("has not come back"))
        #expect(try await fixture.state() == .busy)
        guard case .busy(nic, "reset", "reset") = await failure(of: { try await fixture.reset() }) else {
            Issue.record("a second reset")
            return
        }
        let other = try #require(PCIAddress("0000:00:10.0"))
        fake.addFunction(other, iommuGroup: 9)
        _ = try await fixture.bind(other)
        _ = try await fixture.reset(other)
        #expect(fake.resets == ["\(nic) flr", "\(other) flr"])
        try fake.release(nic, .reset)
        await host.settled(nic)
        #expect(try await fixture.state() == .bound)
        #expect(fake.settings(of: nic)["reset_method"] == "flr pm\n")
    }
}
