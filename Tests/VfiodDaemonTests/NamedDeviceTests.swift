import PCI
import Passthrough
import Testing
import Varlink
import VfiodAPI

@Suite("Devices by name over the wire")
struct NamedDeviceTests {
    private static let edu = "0000:00:10.0"

    private func bind(_ daemon: RunningDaemon, _ device: String, dryRun: Bool? = nil) async throws -> String? {
        try await daemon.call(Bind.self, Bind.Parameters(device: device, consent: nil, dryRun: dryRun)).device
    }

    @Test("every method takes a name or parts where it takes an address, and the list shows names")
    func names() async throws {
        try await RunningDaemon.with { daemon in
            for device in ["nic0", "id=1234:11e8"] {
                #expect(try await bind(daemon, device) == Self.edu)
                let details = try await daemon.call(Describe.self, Describe.Parameters(device: device)).details
                #expect(details.device.address == Self.edu && details.device.configuredName == "nic0")
                _ = try await daemon.call(Interrupts.self, Interrupts.Parameters(device: device))
                let plan = try await daemon.call(
                    PlanOperation.self, PlanOperation.Parameters(operation: "bind", device: device, consent: nil))
                #expect(plan.device == Self.edu)
                _ = try await daemon.call(
                    SelfTest.self,
                    SelfTest.Parameters(device: device, type: nil, vectors: nil, count: nil, fault: nil))
                _ = try await daemon.call(Restore.self, Restore.Parameters(device: device, dryRun: nil))
            }
            let names = try await daemon.call(List.self, NoParameters()).devices.map(\.configuredName)
            #expect(names == ["nic0", nil])
            let audit = daemon.log.all.filter { $0.contains("asked for by user") }
            #expect(audit.count == 6 && audit.allSatisfy { $0.contains("of \(Self.edu)") })
            let missing = try await daemon.refusal(of: Describe.self, Describe.Parameters(device: "nic7"))
            #expect(missing.flatMap(Wire.DeviceNotFound.init)?.device == "nic7")
        }
    }

    @Test("a pool gives its first free device, the reply and the audit say which, and at last each member's reason")
    func pool() async throws {
        try await RunningDaemon.with { daemon in
            let plan = try await daemon.call(
                PlanOperation.self, PlanOperation.Parameters(operation: "bind", device: "nics", consent: nil))
            #expect(plan.device == Self.edu)
            #expect(try await bind(daemon, "nics", dryRun: true) == Self.edu)
            #expect(try await bind(daemon, "nics") == Self.edu)
            #expect(try await bind(daemon, "nics") == "0000:00:11.0")
            let error = try await daemon.refusal(
                of: Bind.self, Bind.Parameters(device: "nics", consent: nil, dryRun: nil))
            #expect(
                error.flatMap(Wire.PoolExhausted.init)
                    == Wire.PoolExhausted(
                        device: "nics",
                        members: [
                            Wire.PoolMember(member: Self.edu, reason: "It is bound."),
                            Wire.PoolMember(member: "0000:00:11.0", reason: "It is bound."),
                        ]))
            let audit = daemon.log.all.filter { $0.contains("asked for by user") }
            #expect(audit.count == 3)
            #expect(audit.first?.contains("bind of \(Self.edu)") == true)
            #expect(audit.first?.contains("done, as the first free of nics") == true)
            #expect(audit.last?.contains("bind of nics") == true && audit.last?.contains("none is free") == true)
        }
    }

    @Test("a method about one device refuses a pool, and names its members")
    func poolIsNoDevice() async throws {
        try await RunningDaemon.with { daemon in
            let expected = Wire.DeviceIsPool(device: "nics", members: ["nic0", "id=8086:10d3"])
            let errors = [
                try await daemon.refusal(of: Describe.self, Describe.Parameters(device: "nics")),
                try await daemon.refusal(of: Restore.self, Restore.Parameters(device: "nics", dryRun: nil)),
                try await daemon.refusal(of: Interrupts.self, Interrupts.Parameters(device: "nics")),
                try await daemon.refusal(
                    of: SelfTest.self,
                    SelfTest.Parameters(device: "nics", type: nil, vectors: nil, count: nil, fault: nil)),
                try await daemon.refusal(
                    of: PlanOperation.self,
                    PlanOperation.Parameters(operation: "restore", device: "nics", consent: nil)),
            ]
            for error in errors { #expect(error.flatMap(Wire.DeviceIsPool.init) == expected) }
        }
    }
}
