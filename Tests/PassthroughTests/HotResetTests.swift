import LinuxSystem
import PCI
import SystemPackage
import TestSupport
import Testing

@testable import Passthrough

/// Two functions in one IOMMU group and a third in its own, behind one bridge, without a reset of their own.
@Suite("Reset of a bus", .serialized) struct HotResetTests {
    let fixture: HostFixture
    let kernel = FakeKernel()
    let vfio = FakeVFIO()
    let bridge: PCIAddress
    let functions: [PCIAddress]
    let devices: [FakeVFIODevice]
    var fake: FakeHost { fixture.fake }
    var first: PCIAddress { functions[0] }

    init() async throws {
        fixture = try HostFixture(kernel: kernel)
        bridge = try #require(PCIAddress("0000:02:00.0"))
        functions = try ["0000:03:01.0", "0000:03:02.0", "0000:03:03.0"].map { try #require(PCIAddress($0)) }
        fixture.fake.addFunction(bridge, classCode: 0x060400, driver: "pcieport", iommuGroup: 6)
        for (index, function) in functions.enumerated() {
            fixture.fake.addFunction(function, vendor: 0x1234, device: 0x11e8, iommuGroup: index < 2 ? 7 : 8)
            fixture.fake.put(function, behind: bridge)
            fixture.fake.removeResets(of: function)
        }
        var configuration = FakeVFIODevice.Configuration(intxCount: 1)
        configuration.bus = 3
        devices = functions.map { FakeVFIODevice($0.description, configuration) }
        for (index, device) in devices.enumerated() { vfio.add(device, iommuGroup: index < 2 ? 7 : 8) }
        kernel.install(vfio, at: "/dev/vfio/")
    }

    private func bindAll() async throws {
        for function in functions { _ = try await fixture.bind(function) }
    }

    private func record(_ address: PCIAddress) -> String { fake.content("/var/lib/vfiod/\(address).json") ?? "" }

    @Test("The plan names all that it takes along, and who of them vfiod has not bound") func plan() async throws {
        _ = try await fixture.bind(first)
        let plan = try await fixture.host.plan(.reset, first)
        #expect(
            plan.steps.filter { $0.action == "hot-reset" }.compactMap { $0.target.split(separator: "/").last }.map(
                String.init) == functions.map(\.description))
        #expect(plan.steps.filter { $0.action == "verify" }.count == 3)
        #expect(plan.blockers.map(\.code) == [.hotResetMember, .hotResetMember])
        #expect(plan.blockers.map(\.member) == Array(functions.dropFirst()))
        #expect(plan.blockers.allSatisfy { $0.consent == nil })
        #expect(try await fixture.host.describe(first).resetMethods == ["bus"])
        #expect(try await fixture.host.describe(first).notes.isEmpty)
        guard case .refused(first, "reset", let blockers) = await failure(of: { try await fixture.reset(first) }) else {
            Issue.record("reset of what is not bound")
            return
        }
        #expect(blockers == plan.blockers)
        #expect(kernel.calls.isEmpty)
    }

    @Test("With all of them bound, they are reset together and stay bound") func reset() async throws {
        try await bindAll()
        _ = try await fixture.reset(first, method: "bus")
        #expect(devices.map(\.hotResetCount) == [1, 1, 1])
        for function in functions {
            #expect(try await fixture.state(function) == .bound)
            #expect(record(function).contains("\"bound\"") && !record(function).contains("\"method\""))
        }
        #expect(kernel.openFileCount == 0)
        #expect(fixture.lines.all.contains("the kernel resets \(functions.map(\.description).joined(separator: ", "))"))
        #expect(fake.resets.isEmpty)
    }

    @Test("All of them are recorded as being reset before the first call to the kernel") func recorded() async throws {
        try await bindAll()
        let seen = Lock<[String]>([])
        let (fake, functions) = (fake, functions)
        kernel.beforeCall(0) {
            seen.withLock { $0 = functions.map { fake.content("/var/lib/vfiod/\($0).json") ?? "" } }
        }
        _ = try await fixture.reset(first)
        #expect(seen.withLock { $0.map { $0.contains("\"resetting\"") } } == [true, true, true])
    }

    @Test("A function's own methods come first, and the bus of one that is alone is its own") func order() async throws
    {
        fake.set(first, "reset_method", "flr bus\n")
        fake.set(first, "reset", "")
        _ = try await fixture.bind(first)
        #expect(try await fixture.host.describe(first).resetMethods == ["flr", "bus"])
        let blocked = try await fixture.host.reset(first, method: "bus", consent: [], dryRun: true) { _ in }
        #expect(blocked.blockers.count == 2)
        _ = try await fixture.reset(first)
        #expect(fake.resets == ["\(first) flr"])
        for function in functions.dropFirst() { fake.removeFunction(function) }
        _ = try await fixture.reset(first, method: "bus")
        #expect(fake.resets == ["\(first) flr", "\(first) bus"])
        #expect(kernel.calls.isEmpty)
    }

    @Test("What the kernel resets and nobody knew of is not reset") func stranger() async throws {
        try await bindAll()
        var configuration = FakeVFIODevice.Configuration()
        configuration.bus = 3
        vfio.add(FakeVFIODevice("0000:03:04.0", configuration), iommuGroup: 9)
        guard case .refused(first, "reset", let blockers) = await failure(of: { try await fixture.reset(first) }) else {
            Issue.record("reset along with a stranger")
            return
        }
        #expect(blockers.map(\.code) == [.hotResetMember] && blockers.first?.member?.description == "0000:03:04.0")
        #expect(devices.map(\.hotResetCount) == [0, 0, 0])
        for function in functions { #expect(try await fixture.state(function) == .bound) }
    }

    @Test(
        "What the kernel refuses is named by its step, and changes no state",
        arguments: [
            ("VFIO_GROUP_GET_STATUS", Errno.notPermitted, "open"), ("VFIO_SET_IOMMU", .notPermitted, "open"),
            ("VFIO_GROUP_GET_DEVICE_FD", .ioError, "open"),
            ("VFIO_DEVICE_GET_PCI_HOT_RESET_INFO", Errno(rawValue: 19), "dependents"),
            ("VFIO_DEVICE_PCI_HOT_RESET", .inappropriateIOCTLForDevice, "reset"),
            ("VFIO_DEVICE_PCI_HOT_RESET", .invalidArgument, "reset"),
            ("VFIO_DEVICE_PCI_HOT_RESET", .resourceBusy, "reset"),
        ])
    func refused(request: String, errno: Errno, step: String) async throws {
        try await bindAll()
        kernel.refuse(request, with: errno)
        guard case .kernel(first, step, let error, _) = await failure(of: { try await fixture.reset(first) }) else {
            Issue.record("\(request) refused")
            return
        }
        #expect(error.errno == errno)
        #expect(kernel.openFileCount == 0)
        for function in functions { #expect(try await fixture.state(function) == .bound) }
    }

    @Test("One that stops half-way quarantines all that it may have reset") func halfWay() async throws {
        try await bindAll()
        kernel.refuse("VFIO_DEVICE_PCI_HOT_RESET", with: .ioError)
        guard case .quarantined(first, let reason) = await failure(of: { try await fixture.reset(first) }) else {
            Issue.record("EIO")
            return
        }
        #expect(reason.contains("EIO"))
        for function in functions {
            #expect(try await fixture.state(function) == .quarantined)
            #expect(record(function).contains("EIO"))
        }
    }

    @Test("Of those that are reset along, only the one that does not come back is quarantined") func member()
        async throws
    {
        try await bindAll()
        let last = functions[2]
        fake.setConfig(last, [UInt8](repeating: 0xff, count: 256))
        guard case .quarantined(last, _) = await failure(of: { try await fixture.reset(first) }) else {
            Issue.record("a member that is dead")
            return
        }
        #expect(try await fixture.state(last) == .quarantined)
        #expect(try await fixture.state(first) == .bound)
        try await fixture.host.release(last)
        #expect(try await fixture.state(last) == .bound)
    }

    @Test("A member that somebody works on or holds keeps the bus from being reset") func busy() async throws {
        try await bindAll()
        let (last, gate, entered) = (functions[2], try EventFD(), Eventual<Bool>())
        let host = fixture.host
        async let used: Int = host.withExclusive(last, operation: "selftest", progress: { _ in }) { _ in
            entered.resolve(true)
            gate.wait()
            return 1
        }
        _ = await entered.value()
        // Whoever works on it holds it; that it is vfiod is what counts.
        fake.addProcess(77, command: "vfiod", open: ["/dev/vfio/8"])
        guard case .busy(last, "selftest", _) = await failure(of: { try await fixture.reset(first) }) else {
            Issue.record("reset of a member in use")
            return
        }
        try gate.signal()
        _ = try await used
        guard case .refused(first, "reset", let blockers) = await failure(of: { try await fixture.reset(first) }) else {
            Issue.record("reset of a member that is held")
            return
        }
        #expect(blockers.map(\.code) == [.held] && blockers.first?.member == last)
        #expect(devices.map(\.hotResetCount) == [0, 0, 0])
    }
}
