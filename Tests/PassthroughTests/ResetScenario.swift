import LinuxSystem
import PCI
import TestSupport
import Testing

@testable import Passthrough

/// A fake host with a bound device that is reset, and what of it must be the same afterwards.
struct ResetScenario: Sendable {
    enum Kind: String, CaseIterable, Sendable {
        case chosen = "by a method that comes after another"
        case only = "by the only method"
        case bus = "with its bus"
    }

    let kind: Kind
    let fake: FakeHost
    let kernel = FakeKernel()
    let files = FakeFiles()
    let stops = CrashScenario.Stops()
    /// The one that is asked for.
    let device: PCIAddress
    /// All that are reset with it, and it.
    let members: [PCIAddress]
    /// What each of ``members`` was like before it was bound, in that order.
    let host: [[String: String]]
    /// And once it was.
    let bound: [[String: String]]
    let fixture: HostFixture
    private let vfio = FakeVFIO()

    init(_ kind: Kind) async throws {
        self.kind = kind
        let nic = try #require(PCIAddress("0000:00:11.0"))
        let bridge = try #require(PCIAddress("0000:02:00.0"))
        let shared = try ["0000:03:01.0", "0000:03:02.0"].map { try #require(PCIAddress($0)) }
        fake = try FakeHost()
        fake.addDriver("e1000e", matching: [nic])
        fake.addFunction(nic, driver: "e1000e", iommuGroup: 3)
        if kind == .only { fake.set(nic, "reset_method", "flr\n") }
        fake.addFunction(bridge, classCode: 0x060400, driver: "pcieport", iommuGroup: 6)
        var configuration = FakeVFIODevice.Configuration(intxCount: 1)
        configuration.bus = 3
        for (index, function) in shared.enumerated() {
            fake.addFunction(function, vendor: 0x1234, device: 0x11e8, iommuGroup: 7 + index)
            fake.put(function, behind: bridge)
            fake.removeResets(of: function)
            vfio.add(FakeVFIODevice(function.description, configuration), iommuGroup: 7 + index)
        }
        kernel.install(vfio, at: "/dev/vfio/")
        device = kind == .bus ? shared[0] : nic
        members = kind == .bus ? shared : [nic]
        host = members.map(fake.settings)
        fixture = try HostFixture(fake, files: files, kernel: kernel, stops: { [stops] in stops.reach($0) })
        for member in members { _ = try await fixture.bind(member) }
        bound = members.map(fake.settings)
    }

    /// Resets the device. `progress` is told each line before the step it is about.
    func perform(progress: @escaping ProgressReport = { _ in }) async -> PassthroughError? {
        let method = kind == .chosen ? "pm" : nil
        return await failure {
            try await fixture.host.reset(device, method: method, consent: [], dryRun: false, progress: progress)
        }
    }

    /// Resets the device for the points that this comes to.
    func points() async -> [StopPoint] {
        let found = Lock<[StopPoint]>([])
        stops.set { point in found.withLock { $0.append(point) } }
        let error = await perform()
        #expect(error == nil)
        return found.withLock { $0 }
    }

    /// Lets a new vfiod take up what is on `host`, and waits for what it began.
    func recover(
        _ host: FakeHost, log: HostFixture.Lines? = nil, stops: @escaping @Sendable (StopPoint) -> Void = { _ in }
    ) async throws -> HostFixture {
        let after = try HostFixture(host, log: log, stops: stops)
        _ = try await after.host.recover()
        for member in members { await after.host.settled(member) }
        return after
    }

    /// Holds a host, this one or a copy of it, against what it was like when the device was bound: only a reset_method
    /// that could not be put back may differ.
    func expectBound(_ host: FakeHost, mayKeepMethod: Bool = false, _ comment: Comment) {
        for (member, settings) in zip(members, bound) {
            var (found, wanted) = (host.settings(of: member), settings)
            if mayKeepMethod { (found["reset_method"], wanted["reset_method"]) = (nil, nil) }
            #expect(found == wanted, comment)
        }
    }

    /// Releases what is quarantined, gives all back, and holds the host against what it was before it was bound.
    func expectRestorable(by fixture: HostFixture, _ comment: Comment) async {
        for member in members {
            if await fixture.host.records[member]?.quarantine != nil {
                let error = await failure { try await fixture.host.release(member) }
                #expect(error == nil, comment)
            }
            let error = await failure { try await fixture.restore(member) }
            #expect(error == nil, comment)
            #expect(fixture.fake.content(CrashScenario.recordPath(member)) == nil, comment)
        }
        #expect(members.map(fixture.fake.settings) == host, comment)
    }
}
