import FoundationEssentials
import LinuxSystem
import PCI
import TestSupport
import Testing

@testable import Passthrough

/// vfiod is killed before and after every step of Bind, SetVirtualFunctions and Restore: what it leaves is a copy of the
/// host at that point.
@Suite("Crashes before and after every step", .serialized) struct CrashMatrixTests {
    private struct Crash {
        let point: StopPoint
        let host: FakeHost
    }

    /// What a kill at each point of an operation leaves behind.
    private final class Crashes: Sendable {
        private let found = Lock<[Crash]>([])
        var all: [Crash] { found.withLock { $0 } }

        func take(_ point: StopPoint, of host: FakeHost?) {
            guard let copy = host.flatMap({ try? FakeHost(copying: $0) }) else { return }
            found.withLock { $0.append(Crash(point: point, host: copy)) }
        }
    }

    @Test(
        "At each point the record says what was, and a new vfiod takes it back or finishes it",
        arguments: CrashScenario.all)
    func killed(kind: CrashScenario.Kind, operation: CrashScenario.Operation) async throws {
        let scenario = try await CrashScenario(kind, operation)
        let crashes = Crashes()
        scenario.stops.set { [weak fake = scenario.fake] in crashes.take($0, of: fake) }
        #expect(await scenario.perform() == nil)
        #expect(crashes.all.count >= 2 * 4)
        for crash in crashes.all {
            try expectRecord(of: crash, in: scenario)
            // Without siblings, as a copy of a host on which two are worked on would be of no one moment.
            if scenario.members.count == 1, kind != .hostDriver { try await killAgain(crash, in: scenario) }
            let after = try await scenario.recover(crash.host)
            try await expectEnd(after, of: crash, in: scenario)
        }
    }

    @Test("Every step of the code is among them, on both sides") func complete() async throws {
        var found: Set<String> = []
        for (kind, operation) in CrashScenario.all {
            for point in try await CrashScenario(kind, operation).points() {
                #expect(point.operation == operation.rawValue)
                found.insert("\(point.step) \(point.moment)")
            }
        }
        // Those of other operations stand in tests of their own.
        let others: Set<OperationStep> = [.open, .reset, .resetMethodBack, .lease, .quarantine, .uevent]
        let all = Set(OperationStep.allCases).subtracting(others).flatMap { step in
            StopPoint.Moment.allCases.map { "\(step) \($0)" }
        }
        #expect(found == Set(all))
    }

    @Test("A stop point is read as it is written, and nothing else is one") func written() throws {
        let device = try #require(PCIAddress("0000:00:11.0"))
        for step in OperationStep.allCases {
            for moment in StopPoint.Moment.allCases {
                let point = StopPoint(operation: "bind", step: step, moment: moment, device: device)
                #expect(StopPoint(point.description) == point)
            }
        }
        for text in [
            "", "@", "bind:unbind:before", "bind:unbind:before@", "bind:unbind:before@0000:00:11.8",
            "bind:unbind:during@0000:00:11.0", "bind:unbound:before@0000:00:11.0", ":unbind:before@0000:00:11.0",
            "bind:unbind:before@0000:00:11.0@", "bind:unbind:before:@0000:00:11.0", "unbind:before@0000:00:11.0",
        ] {
            #expect(StopPoint(text) == nil, "\(text)")
        }
    }

    /// The device stays as asked if its record says so, and is as before otherwise.
    private func expectEnd(_ after: HostFixture, of crash: Crash, in scenario: CrashScenario) async throws {
        let point = crash.point
        let comment: Comment = "\(point), \(scenario.kind)"
        let isOfDevice = point.device == scenario.device
        let last: (OperationStep, StopPoint.Moment) =
            switch scenario.operation {
            case .bind: (.bound, .after)
            case .virtualFunctions: (.created, .after)
            case .restore: (.restoring, .before)
            }
        if isOfDevice, (point.step, point.moment) == last {
            #expect(scenario.isAsAsked(crash.host), comment)
            #expect(scenario.recorded(crash.host) == scenario.members, comment)
            await scenario.expectRestorable(by: after, comment)
        }
        scenario.expectBefore(crash.host, comment)
    }

    /// The next vfiod is killed too, at each point of what it does.
    private func killAgain(_ crash: Crash, in scenario: CrashScenario) async throws {
        let crashes = Crashes()
        let copy = try FakeHost(copying: crash.host)
        _ = try await scenario.recover(copy) { [weak copy] in crashes.take($0, of: copy) }
        for second in crashes.all {
            _ = try await scenario.recover(second.host)
            scenario.expectBefore(second.host, "\(crash.point), then \(second.point), \(scenario.kind)")
        }
    }

    private func expectRecord(of crash: Crash, in scenario: CrashScenario) throws {
        let point = crash.point
        let comment: Comment = "\(point), \(scenario.kind)"
        let path = CrashScenario.recordPath(point.device)
        let content = crash.host.content(path)
        switch (point.step, point.moment) {
        case (.record, .before), (.forget, .after):
            #expect(content == nil, comment)
            return
        default: break
        }
        let record = try JSONDecoder().decode(DeviceRecord.self, from: Data(try #require(content, comment).utf8))
        let index = try #require(scenario.members.firstIndex(of: point.device))
        expect(record.before, is: scenario.before[index], comment)
        let isSaved = ![.bound, .created, .restoring].contains(point.step) || point.moment == .after
        #expect((record.step == point.step.rawValue) == isSaved, comment)
        let phase: DeviceRecord.Phase =
            switch (scenario.operation, isSaved) {
            case (.bind, _): point.step == .bound && isSaved ? .bound : .binding
            case (.virtualFunctions, _): point.step == .created && isSaved ? .created : .creating
            case (.restore, true): .restoring
            case (.restore, false): scenario.kind == .physical ? .created : .bound
            }
        #expect(record.phase == phase, comment)
    }

    private func expect(_ recorded: DeviceSettings, is settings: [String: String], _ comment: Comment) {
        #expect(recorded.driver ?? "" == settings["driver"], comment)
        #expect(recorded.driverOverride == settings["driver_override"], comment)
        #expect(recorded.powerControl == settings["power/control"], comment)
        #expect(recorded.enable == settings["enable"], comment)
        #expect(recorded.resetMethod == settings["reset_method"], comment)
        #expect(recorded.virtualFunctionProbing == settings["sriov_drivers_autoprobe"], comment)
        #expect(recorded.virtualFunctions.map { "\($0)\n" } == settings["sriov_numvfs"], comment)
    }
}
