import LinuxSystem
import PCI
import TestSupport
import Testing

@testable import Passthrough

/// A fake host with a device that is bound, or gets virtual functions, and is given back, and what of it must be the same
/// afterwards.
struct CrashScenario: Sendable {
    enum Kind: String, CaseIterable, Sendable {
        case hostDriver = "from a host driver"
        case noDriver = "from no driver, with an override"
        case sibling = "from a host driver, with a sibling in use"
        case siblingOfIdle = "from no driver, with two siblings in use"
        case changed = "from a host driver, changed by others meanwhile"
        case physical = "with two virtual functions of the host's"
    }

    enum Operation: String, Sendable {
        case bind
        case restore
        case virtualFunctions = "virtual-functions"
    }

    /// Which operations there are of which devices.
    static let all: [(kind: Kind, operation: Operation)] = Kind.allCases.flatMap { kind in
        [(kind, kind == .physical ? .virtualFunctions : .bind), (kind, .restore)]
    }

    /// Takes the stop points, once an operation is to be looked at.
    final class Stops: Sendable {
        private let handler = Lock<(@Sendable (StopPoint) -> Void)?>(nil)
        func set(_ body: (@Sendable (StopPoint) -> Void)?) { handler.withLock { $0 = body } }
        func reach(_ point: StopPoint) { handler.withLock { $0 }?(point) }
    }

    let kind: Kind
    let operation: Operation
    let fake: FakeHost
    let files = FakeFiles()
    let stops = Stops()
    /// The one that is asked for.
    let device: PCIAddress
    /// All that are bound with it, and it.
    let members: [PCIAddress]
    /// What each of ``members`` was like, in that order, and then each of ``functions``.
    let before: [[String: String]]
    /// The virtual functions that there were, and that were asked for.
    let functions: [PCIAddress]
    let fixture: HostFixture

    /// The device is bound already where `operation` is Restore.
    init(_ kind: Kind, _ operation: Operation) async throws {
        (self.kind, self.operation) = (kind, operation)
        let nic = try #require(PCIAddress("0000:00:11.0"))
        let edu = try #require(PCIAddress("0000:03:01.0"))
        let sibling = try #require(PCIAddress("0000:03:03.0"))
        fake = try FakeHost()
        fake.addDriver("e1000e", matching: [nic])
        fake.addDriver("e1000", matching: [sibling])
        let hasSibling = kind == .sibling || kind == .siblingOfIdle
        fake.addFunction(nic, driver: "e1000e", iommuGroup: 3)
        fake.addFunction(sibling, device: 0x100e, driver: "e1000", iommuGroup: hasSibling ? 3 : 4)
        fake.addFunction(edu, vendor: 0x1234, device: 0x11e8, iommuGroup: kind == .siblingOfIdle ? 3 : 5)
        fake.set(edu, "driver_override", "some_driver\n")
        fake.set(edu, "enable", "1\n")
        if kind == .changed {
            // Another driver that wants the device too, and comes first.
            fake.addDriver("e1000_other", matching: [nic])
            fake.set(nic, "reset_method", "pm\n")
            fake.set(nic, "sriov_totalvfs", "7\n")
            fake.set(nic, "sriov_numvfs", "0\n")
        }
        functions = kind == .physical ? (0..<5).compactMap(FakeHost.virtualFunction) : []
        if kind == .physical {
            fake.makePhysical(nic)
            fake.addDriver("igbvf", matching: Set(functions))
            try fake.write("2", to: "\(fake.root)/sys/bus/pci/devices/\(nic)/sriov_numvfs")
        }
        device = kind == .noDriver || kind == .siblingOfIdle ? edu : nic
        members =
            switch kind {
            case .hostDriver, .changed, .physical: [nic]
            case .noDriver: [edu]
            case .sibling: [nic, sibling]
            case .siblingOfIdle: [edu, nic, sibling]
            }
        before = (members + functions).map(fake.settings)
        fixture = try HostFixture(fake, files: files, stops: { [stops] in stops.reach($0) })
        if operation == .restore {
            try await take()
            if kind == .changed {
                fake.link("/sys/devices/pci0000:00/\(nic)/virtfn0", to: "../0000:01:10.0")
                fake.set(nic, "sriov_numvfs", "1\n")
                fake.set(nic, "reset_method", "flr\n")
            }
        }
    }

    /// Carries the operation out. `progress` is told each line before the step it is about.
    func perform(progress: @escaping ProgressReport = { _ in }) async -> PassthroughError? {
        await failure {
            switch operation {
            case .bind, .virtualFunctions: try await take(progress: progress)
            case .restore: _ = try await fixture.host.restore(device, dryRun: false, progress: progress)
            }
        }
    }

    private func take(progress: @escaping ProgressReport = { _ in }) async throws {
        if kind == .physical {
            _ = try await fixture.host.setVirtualFunctions(
                device, to: functions.count, consent: [], dryRun: false, progress: progress)
            return
        }
        let consent = members.filter { $0 != device }.map { Consent(.siblingInUse, of: $0) }
        _ = try await fixture.host.bind(device, consent: Set(consent), dryRun: false, progress: progress)
    }

    /// Carries the operation out for the points that it comes to.
    func points() async -> [StopPoint] {
        let found = Lock<[StopPoint]>([])
        stops.set { point in found.withLock { $0.append(point) } }
        let error = await perform()
        #expect(error == nil)
        return found.withLock { $0 }
    }

    // What a host is like, this one or a copy of it.

    /// Bound, or with the virtual functions that were asked for and that no driver has.
    func isAsAsked(_ host: FakeHost) -> Bool {
        if kind != .physical { return members.allSatisfy { host.driver(of: $0) == Planner.driver } }
        let settings = host.settings(of: device)
        return settings["sriov_numvfs"] == "\(functions.count)\n" && settings["sriov_drivers_autoprobe"] == "0\n"
            && settings["driver"] == before[0]["driver"]
            && functions.allSatisfy { host.driver(of: $0) == nil && !host.bytes($0, "config").isEmpty }
    }

    static func recordPath(_ address: PCIAddress) -> String { "/var/lib/vfiod/\(address).json" }

    func recorded(_ host: FakeHost) -> [PCIAddress] {
        members.filter { host.content(CrashScenario.recordPath($0)) != nil }
    }

    /// Restores by `fixture` all that has a record, and holds the host against what it was before.
    func expectRestorable(by fixture: HostFixture, _ comment: Comment) async {
        for address in members where recorded(fixture.fake).contains(address) {
            let error = await failure { try await fixture.restore(address) }
            #expect(error == nil, comment)
        }
        expectBefore(fixture.fake, comment)
    }

    func expectBefore(_ host: FakeHost, _ comment: Comment) {
        #expect((members + functions).map(host.settings) == before, comment)
        #expect(recorded(host).isEmpty, comment)
    }

    /// Lets a new vfiod take up what is on `host`, and waits for what it began.
    func recover(_ host: FakeHost, stops: @escaping @Sendable (StopPoint) -> Void = { _ in }) async throws
        -> HostFixture
    {
        let log = HostFixture.Lines()
        let after = try HostFixture(host, log: log, stops: stops)
        _ = try await after.host.recover()
        await after.wait {
            // Recovery that fails goes on for ever.
            if let line = log.all.first(where: { $0.contains("is tried again") }) {
                Issue.record("\(line), after \(after.fake.writes)")
                return true
            }
            for address in members where await !after.host.isIdle(address) { return false }
            return true
        }
        return after
    }
}
