import LinuxSystem
import PCI
import SystemPackage
import TestSupport
import Testing

@testable import Passthrough

/// One thing goes wrong in Bind, SetVirtualFunctions or Restore, each in turn: the device is as before, as asked, or has a
/// record from which Restore, and a new vfiod, bring it back.
@Suite("Faults at every step", .serialized) struct FaultMatrixTests {
    /// What the kernel says of writes to sysfs and of reads.
    static let errors: [Errno] = [
        .notPermitted, .noSuchFileOrDirectory, .ioError, .operationNotSupportedByDevice, .noMemory, .resourceBusy,
        .invalidArgument, .noSpace, .interrupted, .timedOut,
    ]
    /// What is read, and in which operations on which devices.
    private static let readings: [(String, CrashScenario.Kind, CrashScenario.Operation)] =
        CrashScenario.all.flatMap { kind, operation in
            let attributes =
                switch kind {
                case .noDriver, .changed:
                    [
                        "driver", "driver_override", "enable", "power/control", "reset_method", "sriov_totalvfs",
                        "sriov_numvfs", "vendor",
                    ]
                case .physical: ["driver", "sriov_totalvfs", "sriov_numvfs", "sriov_drivers_autoprobe", "vendor"]
                default: [String]()
                }
            return attributes.map { ($0, kind, operation) }
        }

    @Test(
        "Each write is refused, refused though it is done, or done by nobody",
        arguments: CrashScenario.all)
    func writes(kind: CrashScenario.Kind, operation: CrashScenario.Operation) async throws {
        let model = try await CrashScenario(kind, operation)
        let already = model.fake.writes.count
        #expect(await model.perform() == nil)
        let count = model.fake.writes.count - already
        #expect(count >= 2)
        // Siblings take the same steps, so that for them one error is as good as all.
        let errors = model.members.count == 1 ? FaultMatrixTests.errors : [.resourceBusy]
        let faults = errors.map { FakeHost.WriteFault.refused($0) } + [.calledRefused(.ioError), .ignored]
        for number in 1...count {
            for fault in faults {
                let scenario = try await CrashScenario(kind, operation)
                scenario.fake.failWrite(number, fault)
                let error = await scenario.perform()
                let comment: Comment = "write \(number) \(fault): \(String(describing: error))"
                if operation != .restore, error != nil {
                    // Only this write failed, so that all could be taken back.
                    scenario.expectBefore(scenario.fake, comment)
                    if case .refused(let errno) = fault { expect(error, says: errno, comment) }
                }
                try await expectNothingLost(scenario, error, comment)
            }
        }
    }

    @Test(
        "The state directory cannot be written from each point on, for a while or to the end",
        arguments: CrashScenario.all)
    func log(kind: CrashScenario.Kind, operation: CrashScenario.Operation) async throws {
        try await atEachPoint(of: kind, operation) { scenario, isBroken in
            let directory = scenario.fake.stateDirectory
            if isBroken {
                try? renameFile(directory, to: directory + ".away")
                scenario.fake.set("/var/lib/vfiod", "")
            } else if pathExists(directory + ".away") {
                try? removeFile(directory)
                try? renameFile(directory + ".away", to: directory)
            }
        }
    }

    @Test(
        "What is read of the device cannot be read from each point on, for a while or to the end",
        arguments: FaultMatrixTests.readings)
    func reads(attribute: String, kind: CrashScenario.Kind, operation: CrashScenario.Operation) async throws {
        try await atEachPoint(of: kind, operation) { scenario, isBroken in
            for address in scenario.members {
                let path = "\(scenario.fake.root)/sys/bus/pci/devices/\(address)/\(attribute)"
                scenario.files.failReads(of: path, with: isBroken ? .ioError : nil)
                scenario.fake.failReads(of: address, attribute, with: isBroken ? .ioError : nil)
            }
        }
    }

    /// Breaks something when the operation begins its first step, and in other runs at each of its stop points; mends it
    /// at the next point, and in other runs after the operation.
    private func atEachPoint(
        of kind: CrashScenario.Kind, _ operation: CrashScenario.Operation,
        _ set: @escaping @Sendable (_ scenario: CrashScenario, _ isBroken: Bool) -> Void
    ) async throws {
        let points = try await CrashScenario(kind, operation).points()
        for start in -1..<points.count {
            for isMendedSoon in [true, false] {
                let scenario = try await CrashScenario(kind, operation)
                let reached = Lock(-1)
                scenario.stops.set { _ in
                    let index = reached.withLock { reached in
                        reached += 1
                        return reached
                    }
                    if index == start { set(scenario, true) }
                    if index == start + 1, isMendedSoon { set(scenario, false) }
                }
                let error = await scenario.perform(progress: { line in
                    if start == -1, line.hasPrefix("recording ") { set(scenario, true) }
                })
                scenario.stops.set(nil)
                set(scenario, false)
                let place = start < 0 ? "the start" : "\(points[start])"
                let comment: Comment = "from \(place), \(isMendedSoon), \(kind): \(String(describing: error))"
                try await expectNothingLost(scenario, error, comment)
            }
        }
    }

    /// An operation that succeeded did all of it; one that failed left a record of each device that is not as before.
    private func expectNothingLost(
        _ scenario: CrashScenario, _ error: PassthroughError?, _ comment: Comment
    ) async throws {
        let fake = scenario.fake
        if error == nil {
            switch scenario.operation {
            case .bind, .virtualFunctions:
                #expect(scenario.isAsAsked(fake), comment)
                #expect(scenario.recorded(fake) == scenario.members, comment)
            case .restore: scenario.expectBefore(fake, comment)
            }
        }
        for (address, settings) in zip(scenario.members, scenario.before) where fake.settings(of: address) != settings {
            #expect(scenario.recorded(fake).contains(address), comment)
        }
        // What a kill right then leaves, for a new vfiod.
        let copy = try FakeHost(copying: fake)
        let after = try await scenario.recover(copy)
        await scenario.expectRestorable(by: after, comment)
        await scenario.expectRestorable(by: scenario.fixture, comment)
    }

    private func expect(_ error: PassthroughError?, says errno: Errno, _ comment: Comment) {
        guard case .kernel(_, _, let cause, _) = error else {
            Issue.record("no kernel error: \(comment)")
            return
        }
        #expect(cause.errno == errno, comment)
    }
}
