import FoundationEssentials
import Testing
import Varlink
import VfiodAPI

/// JSON as it is, to hold it against the description.
enum JSON: Decodable, Hashable {
    case null
    case bool(Bool)
    case int(Int)
    case float(Double)
    case string(String)
    case array([JSON])
    case object([String: JSON])

    init(from decoder: any Decoder) throws {
        let value = try decoder.singleValueContainer()
        if value.decodeNil() {
            self = .null
        } else if let bool = try? value.decode(Bool.self) {
            self = .bool(bool)
        } else if let int = try? value.decode(Int.self) {
            self = .int(int)
        } else if let float = try? value.decode(Double.self) {
            self = .float(float)
        } else if let string = try? value.decode(String.self) {
            self = .string(string)
        } else if let array = try? value.decode([JSON].self) {
            self = .array(array)
        } else {
            self = .object(try value.decode([String: JSON].self))
        }
    }

    init(encoding value: some Encodable) throws {
        self = try JSONDecoder().decode(JSON.self, from: JSONEncoder().encode(value))
    }
}

/// The description is the contract: the Swift types must have its fields, no more and no fewer, with its types.
@Suite("Wire types")
struct WireConformanceTests {
    private let description: InterfaceDescription

    init() throws { self.init(try VfiodInterface.description()) }

    private init(_ description: InterfaceDescription) { self.description = description }

    /// Where `json` does not fit `type`. With `complete`, optional fields have to be there too, so that none is missing
    /// in Swift.
    private func misfits(_ json: JSON, _ type: VarlinkType, complete: Bool, at path: String) -> [String] {
        switch (type, json) {
        case (.bool, .bool), (.int, .int), (.float, .float), (.float, .int), (.string, .string), (.object, .object):
            return []
        case (.named(let name), _):
            guard let type = description.types[name] else { return ["\(path): no type \(name)"] }
            return misfits(json, type, complete: complete, at: path)
        case (.optional(let type), _): return misfits(json, type, complete: complete, at: path)
        case (.array(let element), .array(let values)):
            if complete && values.isEmpty { return ["\(path): an empty sample shows nothing"] }
            return values.flatMap { misfits($0, element, complete: complete, at: "\(path)[]") }
        case (.map(let element), .object(let values)):
            return values.flatMap { misfits($0.value, element, complete: complete, at: "\(path).\($0.key)") }
        case (.structure(let fields), .object(let values)):
            return misfits(values, fields, complete: complete, at: path)
        default: return ["\(path): \(json) is no \(type)"]
        }
    }

    private func misfits(
        _ values: [String: JSON], _ fields: [VarlinkField], complete: Bool, at path: String
    ) -> [String] {
        let unknown = Set(values.keys).subtracting(fields.map(\.name))
        var found = unknown.map { "\(path).\($0): not in the description" }
        for field in fields {
            var isOptional = false
            if case .optional = field.type { isOptional = true }
            if let value = values[field.name] {
                found += misfits(value, field.type, complete: complete, at: "\(path).\(field.name)")
                if !complete && isOptional { found.append("\(path).\(field.name): written although absent") }
            } else if complete || !isOptional {
                found.append("\(path).\(field.name): missing")
            }
        }
        return found
    }

    private func check(
        _ value: some Codable & Hashable, _ fields: [VarlinkField], complete: Bool = true, _ name: String
    ) throws {
        guard case .object(let values) = try JSON(encoding: value) else {
            Issue.record("\(name) is no object")
            return
        }
        #expect(misfits(values, fields, complete: complete, at: name).isEmpty)
        func decoded<Value: Decodable>(like value: Value) throws -> Value where Value: Encodable {
            try JSONDecoder().decode(Value.self, from: JSONEncoder().encode(value))
        }
        #expect(try decoded(like: value) == value)
    }

    private func check<Method: VfiodMethod>(
        _ method: Method.Type, _ parameters: Method.Parameters, _ replies: [Method.Reply]
    ) throws where Method.Parameters: Hashable, Method.Reply: Hashable {
        let described = try #require(description.methods[Method.name])
        #expect(Method.Parameters.fields == described.input.map(\.name))
        try check(parameters, described.input, "\(Method.name) parameters")
        for reply in replies { try check(reply, described.output, "\(Method.name) reply") }
    }

    @Test("every method of the description has a type with its fields, and no other is there")
    func methods() throws {
        #expect(description.name == VfiodInterface.name)
        #expect(
            Set(description.methods.keys)
                == [
                    List.name, Monitor.name, Describe.name, PlanOperation.name, Bind.name, Restore.name,
                    SetVirtualFunctions.name, Apply.name, Reset.name, Release.name, SelfTest.name, Interrupts.name,
                    Attach.name,
                    Detach.name, Leases.name,
                ])
        let device = "0000:00:10.0"
        #expect(List.Parameters.fields == description.methods[List.name]?.input.map(\.name))
        try check(
            List.Reply(devices: [Samples.device]), try #require(description.methods[List.name]).output, "List reply")
        #expect(Monitor.Parameters.fields == description.methods[Monitor.name]?.input.map(\.name))
        let told = try #require(description.methods[Monitor.name]).output
        try check(Monitor.Reply(event: Samples.event), told, "Monitor reply")
        try check(Monitor.Reply(event: Wire.Event(kind: "complete")), told, complete: false, "Monitor reply")
        try check(Describe.self, Describe.Parameters(device: device), [Describe.Reply(details: Samples.details)])
        try check(
            PlanOperation.self, PlanOperation.Parameters(operation: "bind", device: device, consent: ["swap"]),
            [PlanOperation.Reply(device: device, plan: Samples.plan, refusedBy: Samples.plan.blockers)])
        try check(
            Bind.self, Bind.Parameters(device: device, consent: ["swap"], dryRun: true),
            [Bind.Reply(device: device, plan: Samples.plan, progress: "x")])
        try check(
            Restore.self, Restore.Parameters(device: device, dryRun: true),
            [Restore.Reply(plan: Samples.plan, progress: "x")])
        try check(
            Reset.self, Reset.Parameters(device: device, method: "flr", consent: ["no-reset"], dryRun: true),
            [Reset.Reply(plan: Samples.plan, progress: "x")])
        let applied = Wire.AppliedProvision(
            name: "n", device: device, action: "bind", outcome: "failed", plan: Samples.plan, error: "x", failure: "x",
            blockers: Samples.plan.blockers)
        try check(
            Apply.self, Apply.Parameters(dryRun: true),
            [Apply.Reply(results: [applied], bootClaims: "x", progress: "x")])
        try check(Release.self, Release.Parameters(device: device), [Release.Reply()])
        try check(
            SetVirtualFunctions.self,
            SetVirtualFunctions.Parameters(device: device, count: 7, consent: ["swap=0000:01:10.0"], dryRun: true),
            [SetVirtualFunctions.Reply(plan: Samples.plan, progress: "x")])
        try check(
            SelfTest.self,
            SelfTest.Parameters(device: device, type: "msi", vectors: 1, count: 1, fault: "drop-irqfd"),
            [SelfTest.Reply(reports: [Samples.report], passed: true, progress: "x")])
        try check(
            Attach.self,
            Attach.Parameters(
                device: device, uid: 1000, gid: 36, mode: "descriptors", consent: ["no-reset"], dryRun: true),
            [Attach.Reply(device: device, lease: Samples.lease, plan: Samples.plan)])
        try check(
            Detach.self, Detach.Parameters(device: device, dryRun: true),
            [Detach.Reply(plan: Samples.plan, progress: "x")])
        try check(
            Leases.Reply(leases: [Samples.lease]), try #require(description.methods[Leases.name]).output, "Leases reply"
        )
        try check(
            Interrupts.self, Interrupts.Parameters(device: device), [Interrupts.Reply(groups: [Samples.group])])
    }

    @Test("absent optional fields are left out, and only those that the description calls optional can be")
    func optionalFields() throws {
        let output = try #require(description.methods[SelfTest.name]).output
        try check(SelfTest.Reply(reports: nil, passed: nil, progress: nil), output, complete: false, "SelfTest reply")
        let input = try #require(description.methods[SelfTest.name]).input
        try check(
            SelfTest.Parameters(device: "d", type: nil, vectors: nil, count: nil, fault: nil), input,
            complete: false, "SelfTest parameters")
        guard case .structure(let fields)? = description.types["Details"] else {
            Issue.record("Details is no structure")
            return
        }
        try check(Samples.sparseDetails, fields, complete: false, "Details")
    }

    @Test("every error of the description has a type with its fields")
    func errors() throws {
        let device = "0000:00:10.0"
        let samples: [(String, JSON)] = [
            try sample(Wire.DeviceNotFound(device: device)),
            try sample(
                Wire.IdentityMismatch(device: "n", address: device, part: "id", expected: "x", found: "y")),
            try sample(Wire.IdentityUnknown(device: "n", part: "serial", candidates: [device])),
            try sample(Wire.AmbiguousDevice(device: "n", candidates: [device])),
            try sample(Wire.DeviceIsPool(device: "n", members: [device])),
            try sample(
                Wire.PoolExhausted(device: "n", members: [Wire.PoolMember(member: device, reason: "x")])),
            try sample(Wire.ConfigurationUnusable(path: "x", line: 1, reason: "x")),
            try sample(Wire.Refused(device: device, operation: "bind", blockers: Samples.plan.blockers)),
            try sample(Wire.DeviceBusy(device: device, operation: "bind", step: "unbind")),
            try sample(Wire.WrongState(device: device, state: "available", needed: "bound", message: "x")),
            try sample(
                Wire.KernelRefused(device: device, step: "unbind", call: "write", errno: "EBUSY", hint: "x")),
            try sample(Wire.StillRunning(device: device, operation: "restore", step: "unbind", cause: "x")),
            try sample(Wire.DeviceAskedBack(device: device, operation: "selftest")),
            try sample(Wire.DeviceFailed(device: device, operation: "selftest")),
            try sample(Wire.NoSuchResetMethod(device: device, method: "flr", available: ["pm"])),
            try sample(Wire.DeviceQuarantined(device: device, reason: "x")),
            try sample(Wire.MonitorEnded(reason: "stopping")),
            try sample(Wire.SelfTestUnavailable(device: device, message: "x", hint: "x")),
            try sample(Wire.ProtocolError(reason: "x")),
        ]
        #expect(Set(samples.map(\.0)) == Set(description.errors.keys))
        for (name, json) in samples {
            guard case .object(let values) = json, let fields = description.errors[name] else {
                Issue.record("\(name) is not in the description")
                continue
            }
            #expect(misfits(values, fields, complete: true, at: name).isEmpty)
        }
        #expect(Wire.ProtocolError.fullName == VfiodInterface.protocolError)
    }

    private func sample(_ error: some VfiodError) throws -> (String, JSON) {
        (type(of: error).name, try JSON(encoding: error))
    }

    @Test("a session's interface has the types that its description says, and no others")
    func sessionInterface() throws {
        let session = try SessionInterface.description()
        let own = WireConformanceTests(session)
        #expect(session.name == SessionInterface.name)
        let notifiers = Session.NotifierParameters(type: "msix", first: 0, count: 2, vectors: 5)
        let vector = Session.VectorParameters(type: "msix", vector: 1)
        let region = Session.Region(index: 0, offset: 1, size: 4096, readable: true, writable: true, mappable: true)
        let none = NoParameters()
        try own.check(
            Session.Describe.self, none,
            [
                Session.Describe.Reply(
                    device: "d", canReset: true, regions: [region], intx: 1, msi: 1, msix: 5)
            ])
        try own.check(Session.OpenDevice.self, none, [none])
        try own.check(
            Session.MapMemory.self, Session.MapMemory.Parameters(iova: 0, size: 4096, offset: 0, writable: true), [none]
        )
        try own.check(Session.UnmapMemory.self, Session.UnmapMemory.Parameters(iova: 0, size: 4096), [none])
        try own.check(Session.SetNotifiers.self, notifiers, [none])
        try own.check(Session.GetNotifiers.self, notifiers, [none])
        try own.check(Session.GetResampleNotifier.self, none, [none])
        try own.check(Session.Enable.self, Session.Enable.Parameters(type: "msix", vectors: 5), [none])
        try own.check(Session.Disable.self, Session.Disable.Parameters(type: "msix"), [none])
        try own.check(Session.Mask.self, vector, [none])
        try own.check(Session.Unmask.self, vector, [none])
        try own.check(Session.Trigger.self, vector, [none])
        try own.check(Session.Reset.self, none, [none])
        #expect(session.methods.count == 13)
        let samples: [(String, JSON)] = [
            try own.sample(Session.SessionInUse(device: "d", processId: 7, uid: 1000)),
            try own.sample(Session.NotReady(device: "d", state: "held", message: "x")),
            try own.sample(Session.SessionEnded(device: "d", reason: "detached")),
            try own.sample(Session.BadRange(reason: "overlaps", message: "x")),
            try own.sample(Session.BadMemory(message: "x")),
            try own.sample(Session.LimitReached(what: "bytes", limit: 1)),
            try own.sample(Session.InterruptsRefused(reason: "not-enabled", message: "x")),
            try own.sample(Session.KernelRefused(device: "d", step: "s", call: "c", errno: "EBUSY", hint: "h")),
            try own.sample(Session.ProtocolError(reason: "x")),
        ]
        #expect(Set(samples.map(\.0)) == Set(session.errors.keys))
        for (name, json) in samples {
            guard case .object(let values) = json, let fields = session.errors[name] else { continue }
            #expect(own.misfits(values, fields, complete: true, at: name).isEmpty)
        }
        #expect(Session.ProtocolError.fullName == SessionInterface.protocolError)
    }

    @Test("an error is found again in what came over the wire, and only as its own type")
    func errorRoundTrip() {
        let error = Wire.DeviceBusy(device: "d", operation: "bind", step: "unbind").varlinkError
        #expect(error.name == "io.vfiod.DeviceBusy")
        #expect(Wire.DeviceBusy(error) == Wire.DeviceBusy(device: "d", operation: "bind", step: "unbind"))
        #expect(Wire.DeviceNotFound(error) == nil)
    }
}

/// Values with every field set.
enum Samples {
    static let device = Wire.Device(
        address: "0000:00:10.0", name: "n", configuredName: "nic0", className: "c", vendorId: "1234", deviceId: "11e8",
        classCode: "00ff00", driver: "edu", iommuGroup: 3, intx: 1, msi: 1, msix: 0, state: "bound")
    static let plan = Wire.Plan(
        steps: [Wire.Step(action: "write", target: "/sys/x", value: "1")],
        blockers: [
            Wire.Blocker(
                code: "swap", message: "m", evidence: "e", remedy: "r", consent: true, consentAs: "swap=0000:00:10.1",
                member: "0000:00:10.1")
        ])
    static let details = Wire.Details(
        device: device, subsystemVendorId: "1af4", subsystemDeviceId: "1100", revision: "10",
        serialNumber: "52-54-00-ff-ff-12-34-56", slot: "4", path: ["0000:00:10.0"], numaNode: 0,
        driverOverride: "vfio-pci", resetMethods: ["flr"], powerControl: "on", powerState: "D0",
        link: Wire.Link(speed: "8.0 GT/s PCIe", width: 4, maxSpeed: "16.0 GT/s PCIe", maxWidth: 8),
        command: Wire.Command(io: false, memory: true, busMaster: true, intxDisabled: false),
        regions: [
            Wire.Region(index: 0, space: "memory", address: "fe000000", size: 4096, wide: false, prefetchable: false)
        ],
        capabilities: [Wire.Capability(id: "05", extended: false, offset: 0x40, name: "MSI")], virtualFunctions: 1,
        totalVirtualFunctions: 7, virtualFunctionAddresses: ["0000:00:10.1"], physicalFunction: "0000:00:10.0",
        iommuGroupMembers: [
            Wire.IOMMUGroupMember(address: "0000:00:10.0", driver: "edu", onBehalfOf: "0000:00:10.1")
        ],
        reservedRegions: [Wire.ReservedRegion(first: "fee00000", last: "feefffff", kind: "msi")],
        holders: [Wire.Holder(processId: 7, command: "qemu", unit: "vm.service", descriptors: [9])],
        hostUses: plan.blockers, unread: ["config"], bindPlan: plan, drift: plan.blockers,
        quarantine: "x", notes: plan.blockers, recorded: ["driver": "edu"],
        operation: Wire.Operation(name: "bind", step: "unbind", since: 1, note: "x"))
    static let event = Wire.Event(
        kind: "operation-ended", address: "0000:00:10.0", device: device, virtualFunctions: 7,
        operation: details.operation, failure: "x", drift: plan.blockers)
    static let sparseDetails = Wire.Details(
        device: Wire.Device(
            address: "0000:00:10.0", name: "n", className: "c", vendorId: "1234", deviceId: "11e8",
            classCode: "00ff00", driver: nil, iommuGroup: nil, intx: 1, msi: 1, msix: 0, state: "available"),
        subsystemVendorId: "1af4", subsystemDeviceId: "1100", revision: "10", serialNumber: nil, slot: nil, path: [],
        numaNode: nil, driverOverride: nil, resetMethods: [], powerControl: nil, powerState: nil, link: nil,
        command: nil, regions: [], capabilities: [], virtualFunctions: nil, totalVirtualFunctions: nil,
        virtualFunctionAddresses: [], physicalFunction: nil, iommuGroupMembers: [], reservedRegions: [], holders: [],
        hostUses: [], unread: [], bindPlan: Wire.Plan(steps: [], blockers: []), drift: [], quarantine: nil,
        notes: [], recorded: nil, operation: nil
    )
    static let report = Wire.SelfTestReport(
        type: "msi", raisedBy: "loopback", vectors: 16, tested: 16, fired: 160, delivered: 159, lost: 1, spurious: 1,
        lostVectors: [3], spuriousVectors: [4], latencyP50: 12.5, latencyP99: 20.25, latencyMax: 30, notes: ["x"])
    static let lease = Wire.Lease(
        iommuGroup: 3, uid: 1000, gid: 36, mode: "descriptors", mapsBars: false,
        devices: [
            Wire.LeasedDevice(
                device: "0000:00:10.0", socket: "/run/x", state: "in-use",
                session: Wire.SessionPeer(processId: 7, uid: 1000, gid: 36),
                holders: [Wire.Holder(processId: 7, command: "qemu", unit: "vm.service", descriptors: [9])],
                failure: "reset: EIO")
        ], mappings: 1, mappedBytes: 4096)
    static let group = Wire.InterruptGroup(
        type: "msix", count: 5, state: "live",
        vectors: [
            Wire.InterruptVector(
                index: 0, wired: true, masked: false, pending: false, hostInterrupt: 40, hostCount: 7)
        ])
}
