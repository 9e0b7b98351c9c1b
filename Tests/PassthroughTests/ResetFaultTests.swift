import LinuxSystem
import PCI
import SystemPackage
import TestSupport
import Testing

@testable import Passthrough

/// One thing goes wrong in Reset, each in turn: the device stays bound or is quarantined, this vfiod and a new one agree on
/// which, and Restore brings it back.
@Suite("Faults at every step of a reset", .serialized) struct ResetFaultTests {
    /// After these nobody knows how far the kernel came.
    private static let halfWay: Set<Errno> = [.ioError, .timedOut, .interrupted]

    private static let requests = [
        "open", "VFIO_GROUP_GET_STATUS", "VFIO_GROUP_SET_CONTAINER", "VFIO_SET_IOMMU", "VFIO_GROUP_GET_DEVICE_FD",
        "VFIO_DEVICE_GET_PCI_HOT_RESET_INFO", "VFIO_DEVICE_PCI_HOT_RESET",
    ]

    @Test(
        "Each write is refused, refused though it is done, or done by nobody",
        arguments: [ResetScenario.Kind.chosen, .only])
    func writes(kind: ResetScenario.Kind) async throws {
        let model = try await ResetScenario(kind)
        let already = model.fake.writes.count
        #expect(await model.perform() == nil)
        let attributes = model.fake.writes.dropFirst(already).map { $0.attribute.split(separator: "/").last ?? "" }
        #expect(attributes == (kind == .only ? ["reset"] : ["reset_method", "reset", "reset_method"]))
        let faults =
            FaultMatrixTests.errors.flatMap { [FakeHost.WriteFault.refused($0), .calledRefused($0)] } + [.ignored]
        for (index, attribute) in attributes.enumerated() {
            for fault in faults {
                let scenario = try await ResetScenario(kind)
                scenario.fake.failWrite(index + 1, fault)
                let error = await scenario.perform()
                let comment: Comment = "write \(index + 1) \(fault): \(String(describing: error))"
                let errno: Errno? =
                    switch fault {
                    case .refused(let errno), .calledRefused(let errno): errno
                    // Nobody can see that a reset was none; that an attribute is not as written, anybody.
                    case .ignored: attribute == "reset" ? nil : .invalidArgument
                    }
                let isHalfWay = attribute == "reset" && errno.map(ResetFaultTests.halfWay.contains) ?? false
                switch error {
                case .kernel(scenario.device, let step, let cause, _):
                    #expect(step == attribute && cause.errno == errno && !isHalfWay, comment)
                case .quarantined(scenario.device, let reason):
                    #expect(isHalfWay && reason.contains(errno?.name ?? "nothing"), comment)
                case nil: #expect(errno == nil, comment)
                default: Issue.record(comment)
                }
                // Nothing is reset by another method than was asked for.
                if attribute == "reset_method", index == 0 { #expect(scenario.fake.resets.isEmpty, comment) }
                scenario.expectBound(scenario.fake, mayKeepMethod: index == 2, comment)
                try await expectNothingLost(scenario, error, quarantined: isHalfWay, comment)
            }
        }
    }

    @Test("Each call of the kernel for a reset of the bus is refused", arguments: requests)
    func calls(request: String) async throws {
        for errno in FaultMatrixTests.errors {
            let scenario = try await ResetScenario(.bus)
            scenario.kernel.refuse(request, with: errno)
            let error = await scenario.perform()
            let comment: Comment = "\(request) \(errno): \(String(describing: error))"
            let isHalfWay = request.hasSuffix("PCI_HOT_RESET") && ResetFaultTests.halfWay.contains(errno)
            switch error {
            case .kernel(scenario.device, let step, let cause, let hint):
                #expect(!isHalfWay && cause.errno == errno && !hint.isEmpty, comment)
                let isOfOpening = !request.hasPrefix("VFIO_DEVICE_")
                #expect(step == (isOfOpening ? "open" : request.hasSuffix("INFO") ? "dependents" : "reset"), comment)
            case .quarantined: #expect(isHalfWay, comment)
            default: Issue.record(comment)
            }
            #expect(scenario.kernel.openFileCount == 0, comment)
            scenario.expectBound(scenario.fake, comment)
            try await expectNothingLost(scenario, error, quarantined: isHalfWay, comment)
        }
    }

    @Test(
        "The state directory cannot be written from each point on, for a while or to the end",
        arguments: ResetScenario.Kind.allCases)
    func log(kind: ResetScenario.Kind) async throws {
        try await atEachPoint(of: kind) { scenario, isBroken in
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
        arguments: [
            ("driver", .chosen), ("config", .chosen), ("reset_method", .chosen), ("config", .bus),
            ("iommu_group", .bus),
        ] as [(String, ResetScenario.Kind)])
    func reads(attribute: String, kind: ResetScenario.Kind) async throws {
        try await atEachPoint(of: kind) { scenario, isBroken in
            for address in scenario.members {
                let path = "\(scenario.fake.root)/sys/bus/pci/devices/\(address)/\(attribute)"
                scenario.files.failReads(of: path, with: isBroken ? .ioError : nil)
            }
        }
    }

    /// Breaks something when the reset begins its first step, and in other runs at each of its stop points; mends it at the
    /// next point, and in other runs after the reset.
    private func atEachPoint(
        of kind: ResetScenario.Kind, _ set: @escaping @Sendable (_ scenario: ResetScenario, _ isBroken: Bool) -> Void
    ) async throws {
        let points = try await ResetScenario(kind).points()
        for start in -1..<points.count {
            for isMendedSoon in [true, false] {
                let scenario = try await ResetScenario(kind)
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
                if error == nil { scenario.expectBound(scenario.fake, comment) }
                try await expectNothingLost(scenario, error, quarantined: nil, comment)
            }
        }
    }

    /// A new vfiod finds all bound, or quarantined if this one says so, and either can give them back. `quarantined`: whether
    /// this one has to say so.
    private func expectNothingLost(
        _ scenario: ResetScenario, _ error: PassthroughError?, quarantined: Bool?, _ comment: Comment
    ) async throws {
        let copy = try FakeHost(copying: scenario.fake)
        let after = try await scenario.recover(copy)
        for member in scenario.members {
            let state = try await scenario.fixture.state(member)
            #expect([.bound, .quarantined].contains(state), comment)
            if let quarantined { #expect((state == .quarantined) == quarantined, comment) }
            if error == nil { #expect(state == .bound, comment) }
            // The next one looks for itself at what could not be recorded.
            if quarantined != nil { #expect(try await after.state(member) == state, comment) }
        }
        await scenario.expectRestorable(by: after, comment)
        await scenario.expectRestorable(by: scenario.fixture, comment)
    }
}
