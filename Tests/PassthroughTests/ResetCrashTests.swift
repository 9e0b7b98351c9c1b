import FoundationEssentials
import LinuxSystem
import PCI
import TestSupport
import Testing

@testable import Passthrough

/// vfiod is killed before and after every step of Reset: what it leaves is a copy of the host at that point.
@Suite("Crashes before and after every step of a reset", .serialized) struct ResetCrashTests {
    /// A point, and two copies of the host there.
    private struct Crash {
        let point: StopPoint
        let host: FakeHost
        let damaged: FakeHost
    }

    /// What a kill at each point of a reset leaves behind.
    private func crashes(_ scenario: ResetScenario) async throws -> [Crash] {
        let found = Lock<[Crash]>([])
        scenario.stops.set { [weak fake = scenario.fake] point in
            guard let host = fake.flatMap({ try? FakeHost(copying: $0) }),
                let damaged = fake.flatMap({ try? FakeHost(copying: $0) })
            else { return }
            found.withLock { $0.append(Crash(point: point, host: host, damaged: damaged)) }
        }
        #expect(await scenario.perform() == nil)
        return found.withLock { $0 }
    }

    @Test("Every step is among them, on both sides, and in order")
    func complete() async throws {
        func steps(_ kind: ResetScenario.Kind) async throws -> [String] {
            let points = try await ResetScenario(kind).points()
            #expect(points.allSatisfy { $0.operation == "reset" })
            #expect(points.enumerated().allSatisfy { $0.offset.isMultiple(of: 2) == ($0.element.moment == .before) })
            return points.filter { $0.moment == .after }.map { "\($0.step) \($0.device)" }
        }
        let nic = "0000:00:11.0"
        #expect(
            try await steps(.chosen)
                == ["record", "resetMethod", "reset", "resetMethodBack", "bound"].map { "\($0) \(nic)" })
        #expect(try await steps(.only) == ["record", "reset", "bound"].map { "\($0) \(nic)" })
        #expect(
            try await steps(.bus) == [
                "record 0000:03:02.0", "record 0000:03:01.0", "open 0000:03:01.0", "reset 0000:03:01.0",
                "bound 0000:03:02.0", "bound 0000:03:01.0",
            ])
    }

    @Test(
        "At each point the record says what was; a device that is whole stays bound, with its methods as before",
        arguments: ResetScenario.Kind.allCases)
    func whole(kind: ResetScenario.Kind) async throws {
        let scenario = try await ResetScenario(kind)
        let crashes = try await crashes(scenario)
        for crash in crashes {
            let (point, host) = (crash.point, crash.host)
            let comment: Comment = "\(point), \(kind)"
            let records = try scenario.members.map { try #require(try record($0, host), comment) }
            try expectRecord(of: crash, in: scenario)
            try await killAgain(crash, in: scenario)
            let log = HostFixture.Lines()
            let after = try await scenario.recover(host, log: log)
            for (member, record) in zip(scenario.members, records) {
                expect(log.all, tell: record, of: member, comment)
            }
            #expect(host.resets.isEmpty, comment)
            scenario.expectBound(host, comment)
            for member in scenario.members {
                #expect(try await after.state(member) == .bound, comment)
                let record = try #require(try record(member, host), comment)
                #expect(record.phase == .bound && record.reset == nil && record.quarantine == nil, comment)
            }
            await scenario.expectRestorable(by: after, comment)
        }
    }

    @Test(
        "At each point, a device that is not whole any more is quarantined, also by the vfiod after the next",
        arguments: ResetScenario.Kind.allCases)
    func damaged(kind: ResetScenario.Kind) async throws {
        let scenario = try await ResetScenario(kind)
        for crash in try await crashes(scenario) {
            let (host, comment): (FakeHost, Comment) = (crash.damaged, "\(crash.point), \(kind)")
            let interrupted = try scenario.members.filter { try record($0, host)?.phase == .resetting }
            for member in interrupted { host.setConfig(member, [UInt8](repeating: 0xff, count: 256)) }
            let log = HostFixture.Lines()
            _ = try await scenario.recover(host, log: log)
            for member in interrupted {
                #expect(log.all.contains { $0.hasPrefix("error: reset of \(member) failed") }, comment)
            }
            scenario.expectBound(host, comment)
            let next = try HostFixture(host)
            let quarantined = try await next.host.recover().filter { $0.outcome == .quarantined }
            #expect(quarantined.map(\.address) == interrupted, comment)
            #expect(quarantined.allSatisfy { $0.message.contains("all ones") }, comment)
            await scenario.expectRestorable(by: next, comment)
        }
    }

    /// The next vfiod is killed too, at each point of what it does.
    private func killAgain(_ crash: Crash, in scenario: ResetScenario) async throws {
        // Two recoveries at once are copied at no one moment.
        if scenario.kind == .bus { return }
        let found = Lock<[(StopPoint, FakeHost)]>([])
        let copy = try FakeHost(copying: crash.host)
        _ = try await scenario.recover(
            copy,
            stops: { [weak copy] point in
                guard let second = copy.flatMap({ try? FakeHost(copying: $0) }) else { return }
                found.withLock { $0.append((point, second)) }
            })
        for (point, second) in found.withLock({ $0 }) {
            let after = try await scenario.recover(second)
            let comment: Comment = "\(crash.point), then \(point)"
            scenario.expectBound(second, comment)
            #expect(try await after.state(scenario.device) == .bound, comment)
        }
    }

    private func record(_ address: PCIAddress, _ host: FakeHost) throws -> DeviceRecord? {
        guard let content = host.content(CrashScenario.recordPath(address)) else { return nil }
        return try JSONDecoder().decode(DeviceRecord.self, from: Data(content.utf8))
    }

    /// The step and what was before are on disk at the first of its two points.
    private func expectRecord(of crash: Crash, in scenario: ResetScenario) throws {
        let point = crash.point
        let comment: Comment = "\(point), \(scenario.kind)"
        let record = try #require(try record(point.device, crash.host), comment)
        switch (point.step, point.moment) {
        case (.record, .before), (.bound, .after):
            #expect(record.phase == .bound && record.step == "bound" && record.reset == nil, comment)
            return
        // Of those that are reset along it says from the beginning that they may have been.
        case _ where point.device != scenario.device: #expect(record.step == "reset", comment)
        case (.bound, .before): #expect(record.step == "verify", comment)
        default: #expect(record.step == point.step.rawValue, comment)
        }
        #expect(record.phase == .resetting, comment)
        let method = scenario.kind == .chosen ? "pm" : scenario.kind == .only ? "flr" : "bus"
        #expect(record.reset?.method == method && record.reset?.command != nil, comment)
        #expect(record.reset?.resetMethod == (scenario.kind == .chosen ? "flr pm" : nil), comment)
    }

    /// What the log says about a record that was found.
    private func expect(_ log: [String], tell record: DeviceRecord, of member: PCIAddress, _ comment: Comment) {
        if record.phase == .bound {
            #expect(log.contains("notice: \(member) is bound, as recorded."), comment)
            return
        }
        let ending =
            switch record.step {
            case "record", "reset_method": ", before anything was reset; it is taken back."
            case "put-back": "; it goes on."
            default: "; vfiod looks whether it is whole."
            }
        #expect(log.contains("notice: A reset of \(member) was interrupted at \(record.step)\(ending)"), comment)
        #expect(log.contains("info: reset of \(member) is done"), comment)
    }
}
