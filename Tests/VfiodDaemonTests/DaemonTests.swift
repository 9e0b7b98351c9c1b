import Glibc
import InterruptSources
import LinuxSystem
import Logging
import PCI
import Passthrough
import ServiceLifecycle
import SystemPackage
import Systemd
import TestSupport
import Testing
import Varlink
import VfiodAPI
import VfiodDaemon

@Suite("Daemon")
struct DaemonTests {
    private static let edu = "0000:00:10.0"

    private struct Parameter: Codable { var parameter: String }

    @Test("devices are listed, described, bound with progress, and restored, and each change leaves an audit line")
    func bindAndRestore() async throws {
        try await RunningDaemon.with { daemon in
            let listed = try await daemon.call(List.self, NoParameters()).devices
            #expect(listed.map(\.address) == ["0000:00:10.0", "0000:00:11.0"])
            #expect(listed.first?.vendorId == "1234")
            #expect(listed.first?.classCode == "00ff00")
            let replies = try await daemon.stream(
                Bind.self, Bind.Parameters(device: "00:10.0", consent: ["network-address"], dryRun: nil))
            #expect(replies.map(\.progress) == ["step 1", "step 2", "step 3", nil])
            #expect(replies.last?.plan?.steps.count == 1)
            #expect(await daemon.devices.consents == [[Consent(.networkAddress)]])
            let details = try await daemon.call(Describe.self, Describe.Parameters(device: Self.edu)).details
            #expect(details.device.state == "bound")
            #expect(details.revision == "10")
            #expect(details.path == [Self.edu])
            #expect(details.regions.first?.address == "fea00000")
            #expect(details.virtualFunctions == 1 && details.totalVirtualFunctions == 7)
            #expect(details.reservedRegions.first?.last == "feefffff")
            #expect(details.unread == ["driver_override"])
            #expect(details.holders.first?.unit == "vm.service")
            #expect(details.hostUses.first?.code == "network-address")
            let restored = try await daemon.call(Restore.self, Restore.Parameters(device: Self.edu, dryRun: nil))
            #expect(restored.progress == nil)
            let audit = daemon.log.all.filter { $0.contains("asked for by user") }
            #expect(audit.count == 2)
            #expect(audit.first?.hasPrefix("<5>bind of 0000:00:10.0") == true)
            #expect(audit.last?.contains("restore of 0000:00:10.0") == true)
            #expect(audit.allSatisfy { $0.contains(": done") && $0.contains("peer_uid=") })
        }
    }

    @Test("virtual functions are asked for by a number of 16 bits") func virtualFunctions() async throws {
        try await RunningDaemon.with { daemon in
            func asking(_ count: Int) -> SetVirtualFunctions.Parameters {
                SetVirtualFunctions.Parameters(device: Self.edu, count: count, consent: nil, dryRun: nil)
            }
            for count in [0, 7, 65_535] {
                let reply = try await daemon.call(SetVirtualFunctions.self, asking(count))
                #expect(reply.plan?.steps.map(\.value) == ["\(count)"])
            }
            for count in [-1, 65_536, Int.min, Int.max] {
                let refusal = try await daemon.refusal(of: SetVirtualFunctions.self, asking(count))
                #expect(refusal?.name == "org.varlink.service.InvalidParameter")
            }
        }
    }

    @Test("a dry run changes nothing, shows blockers with their consent, and is no change in the audit")
    func dryRun() async throws {
        try await RunningDaemon.with { daemon in
            let reply = try await daemon.call(
                Bind.self, Bind.Parameters(device: Self.edu, consent: nil, dryRun: true))
            #expect(reply.plan?.blockers.first?.code == "network-address")
            #expect(reply.plan?.blockers.first?.consent == true)
            let states = try await daemon.call(List.self, NoParameters()).devices.map(\.state)
            #expect(states == ["available", "available"])
            #expect(daemon.log.all.allSatisfy { !$0.contains("asked for by") })
        }
    }

    @Test("a plan says what stands against an operation, and what of it the consent does not cover")
    func plan() async throws {
        try await RunningDaemon.with { daemon in
            func plan(_ consent: String...) async throws -> PlanOperation.Reply {
                try await daemon.call(
                    PlanOperation.self,
                    PlanOperation.Parameters(operation: "bind", device: Self.edu, consent: consent))
            }
            let bare = try await plan()
            #expect(bare.plan.blockers.map(\.consentAs) == ["network-address"])
            #expect(bare.refusedBy == bare.plan.blockers)
            #expect(try await plan("swap").refusedBy == bare.plan.blockers)
            #expect(try await plan("network-address=00:11.0").refusedBy == bare.plan.blockers)
            for consent in ["network-address", "network-address=\(Self.edu)", "network-address=00:10.0"] {
                let covered = try await plan(consent)
                #expect(covered.refusedBy.isEmpty && covered.plan == bare.plan)
            }
            let restore = try await daemon.call(
                PlanOperation.self, PlanOperation.Parameters(operation: "restore", device: Self.edu, consent: nil))
            #expect(restore.plan.blockers.isEmpty && restore.refusedBy.isEmpty)
            #expect(daemon.log.all.allSatisfy { !$0.contains("asked for by") })
        }
    }

    @Test("a device is given to an owner, listed and taken back, each change with an audit line")
    func leases() async throws {
        try await RunningDaemon.with { daemon in
            await daemon.devices.setLeaseDirectory(daemon.directory.file("leases"))
            let asked = Attach.Parameters(
                device: Self.edu, uid: Int(getuid()), gid: nil, mode: nil, consent: nil, dryRun: nil)
            let lease = try #require(try await daemon.call(Attach.self, asked).lease)
            #expect(lease.uid == Int(getuid()) && lease.mode == "descriptors" && lease.devices.count == 1)
            #expect(try await daemon.call(Leases.self, NoParameters()).leases == [lease])
            _ = try await daemon.call(Detach.self, Detach.Parameters(device: Self.edu, dryRun: nil))
            #expect(try await daemon.call(Leases.self, NoParameters()).leases.isEmpty)
            #expect(daemon.log.all.contains { $0.contains("attach of 0000:00:10.0") && $0.contains("done") })
            #expect(daemon.log.all.contains { $0.contains("detach of 0000:00:10.0") && $0.contains("done") })
            let wrong: [(String, Attach.Parameters)] = [
                ("uid", .init(device: Self.edu, uid: -1, gid: nil, mode: nil, consent: nil, dryRun: nil)),
                ("uid", .init(device: Self.edu, uid: 0xffff_ffff, gid: nil, mode: nil, consent: nil, dryRun: nil)),
                ("gid", .init(device: Self.edu, uid: 0, gid: 1 << 32, mode: nil, consent: nil, dryRun: nil)),
                ("mode", .init(device: Self.edu, uid: 0, gid: nil, mode: "vfio", consent: nil, dryRun: nil)),
            ]
            for (name, parameters) in wrong {
                let refused = try await daemon.refusal(of: Attach.self, parameters)
                #expect(refused?.name == "org.varlink.service.InvalidParameter")
                #expect(refused?.parameters(as: Parameter.self)?.parameter == name)
            }
        }
    }

    @Test("arguments are checked before the host is asked, and the error names the wrong one")
    func badArguments() async throws {
        try await RunningDaemon.with { daemon in
            func wrong(_ parameters: SelfTest.Parameters) async throws -> String? {
                let error = try await daemon.refusal(of: SelfTest.self, parameters)
                #expect(error?.name == "org.varlink.service.InvalidParameter")
                return error?.parameters(as: Parameter.self)?.parameter
            }
            func selfTest(
                device: String = Self.edu, type: String? = nil, vectors: Int? = nil, count: Int? = nil,
                fault: String? = nil
            ) -> SelfTest.Parameters {
                SelfTest.Parameters(device: device, type: type, vectors: vectors, count: count, fault: fault)
            }
            for device in ["", "-x", "0000:00:10", "0000:00:20.0", "../../x", "0000:00:10.8"] {
                #expect(try await wrong(selfTest(device: device)) == "device")
            }
            for vectors in [0, -1, 2049, Int.max, Int.min] {
                #expect(try await wrong(selfTest(vectors: vectors)) == "vectors")
            }
            for count in [0, 1_000_001] { #expect(try await wrong(selfTest(count: count)) == "count") }
            #expect(try await wrong(selfTest(type: "MSI")) == "type")
            #expect(try await wrong(selfTest(fault: "none")) == "fault")
            for code in [
                "root-disk", "nonsense", "", "=", "swap=", "swap=x", "swap=0000:00:10.9", "root-disk=0000:00:10.0",
                "iommu-group-sibling-in-use", "iommu-group-sibling-in-use=", "swap=0000:00:10.0=0000:00:10.0",
            ] {
                let error = try await daemon.refusal(
                    of: Bind.self, Bind.Parameters(device: Self.edu, consent: [code], dryRun: nil))
                #expect(error?.parameters(as: Parameter.self)?.parameter == "consent", "\(code)")
                let unplanned = try await daemon.refusal(
                    of: PlanOperation.self,
                    PlanOperation.Parameters(operation: "bind", device: Self.edu, consent: [code]))
                #expect(unplanned?.parameters(as: Parameter.self)?.parameter == "consent", "\(code)")
            }
            for operation in ["", "Bind", "nonsense"] {
                let error = try await daemon.refusal(
                    of: PlanOperation.self,
                    PlanOperation.Parameters(operation: operation, device: Self.edu, consent: nil))
                #expect(error?.parameters(as: Parameter.self)?.parameter == "operation")
            }
            #expect(await daemon.devices.requests.isEmpty)
            #expect(await daemon.devices.consents.isEmpty)
        }
    }

    @Test("a reset streams its progress, a dry run of it is no change in the audit, and a release is one")
    func reset() async throws {
        try await RunningDaemon.with { daemon in
            func parameters(_ dryRun: Bool) -> Reset.Parameters {
                Reset.Parameters(device: "00:10.0", method: "pm", consent: ["no-reset"], dryRun: dryRun)
            }
            #expect(try await daemon.call(Reset.self, parameters(true)).plan?.steps.first?.target == "reset")
            #expect(daemon.log.all.allSatisfy { !$0.contains("asked for by") })
            let replies = try await daemon.stream(Reset.self, parameters(false))
            #expect(replies.map(\.progress) == ["resetting by pm", nil])
            #expect(await daemon.devices.consents == [[Consent(.noReset)], [Consent(.noReset)]])
            _ = try await daemon.call(Release.self, Release.Parameters(device: Self.edu))
            let plan = try await daemon.call(
                PlanOperation.self, PlanOperation.Parameters(operation: "reset", device: Self.edu, consent: nil))
            #expect(plan.plan.steps.count == 1)
            let audit = daemon.log.all.filter { $0.contains("asked for by user") }
            #expect(audit.map { $0.split(separator: " ").first.map(String.init) } == ["<5>reset", "<5>release"])
        }
    }

    @Test("a self-test reports, and one that lost something did not pass")
    func selfTest() async throws {
        try await RunningDaemon.with { daemon in
            let good = try await daemon.call(
                SelfTest.self,
                SelfTest.Parameters(device: Self.edu, type: nil, vectors: nil, count: nil, fault: nil))
            #expect(good.passed == true)
            #expect(good.reports?.map(\.type) == ["intx", "msi", "msix"])
            #expect(good.reports?.first?.fired == 10)
            let bad = try await daemon.stream(
                SelfTest.self,
                SelfTest.Parameters(device: Self.edu, type: "msi", vectors: 1, count: 3, fault: "drop-irqfd"))
            #expect(bad.map(\.progress) == ["testing", nil])
            #expect(bad.last?.passed == false)
            #expect(bad.last?.reports?.first?.lostVectors == [0])
            let groups = try await daemon.call(Interrupts.self, Interrupts.Parameters(device: Self.edu)).groups
            #expect(groups.first?.vectors.first?.hostCount == 7)
        }
    }

    @Test("each of the domain's errors arrives as its wire error, with its data")
    func errors() async throws {
        try await RunningDaemon.with { daemon in
            let address = try #require(PCIAddress(Self.edu))
            func refusal(_ failure: PassthroughError) async throws -> VarlinkError {
                await daemon.devices.fail(failure)
                return try #require(
                    try await daemon.refusal(of: Restore.self, Restore.Parameters(device: Self.edu, dryRun: nil)))
            }
            let missing = try await daemon.refusal(of: Describe.self, Describe.Parameters(device: "0000:77:00.0"))
            #expect(missing.flatMap(Wire.DeviceNotFound.init)?.device == "0000:77:00.0")
            let refused = try await refusal(.refused(address, operation: "restore", [InMemoryDevices.blocker]))
            #expect(Wire.Refused(refused)?.blockers.first?.evidence == "eth0: 10.0.0.2")
            let busy = try await refusal(.busy(address, operation: "bind", step: "unbind"))
            #expect(Wire.DeviceBusy(busy)?.step == "unbind")
            let state = try await refusal(
                .wrongState(address, state: "available", needed: "bound", message: "Bind it first."))
            #expect(Wire.WrongState(state)?.needed == "bound")
            let kernel = try await refusal(
                .kernel(
                    address, step: "unbind", KernelError("write", on: "/sys/x", Errno(rawValue: 16)), hint: "Wait."))
            #expect(
                Wire.KernelRefused(kernel)
                    == Wire.KernelRefused(
                        device: Self.edu, step: "unbind", call: "write /sys/x", errno: "EBUSY", hint: "Wait."))
            let running = try await refusal(
                .stillRunning(address, operation: "restore", step: "unbind", cause: "held by process 7"))
            #expect(Wire.StillRunning(running)?.cause == "held by process 7")
            let askedBack = try await refusal(.askedBack(address, operation: "selftest"))
            #expect(Wire.DeviceAskedBack(askedBack) == Wire.DeviceAskedBack(device: Self.edu, operation: "selftest"))
            let failed = try await refusal(.deviceFailed(address, operation: "selftest"))
            #expect(Wire.DeviceFailed(failed) == Wire.DeviceFailed(device: Self.edu, operation: "selftest"))
            #expect(daemon.log.all.contains { $0.contains("ended early: the host asks for the device back") })
            let method = try await refusal(.noSuchResetMethod(address, method: "x", available: ["flr"]))
            #expect(
                Wire.NoSuchResetMethod(method)
                    == Wire.NoSuchResetMethod(device: Self.edu, method: "x", available: ["flr"]))
            let quarantined = try await refusal(.quarantined(address, reason: "It is dead."))
            #expect(
                Wire.DeviceQuarantined(quarantined) == Wire.DeviceQuarantined(device: Self.edu, reason: "It is dead."))
            #expect(daemon.log.all.contains { $0.contains("0000:00:10.0 is quarantined: It is dead.") })
            let mismatch = try await refusal(
                .identityMismatch("nic0", address, part: .serial, expected: "1", found: "2"))
            #expect(
                Wire.IdentityMismatch(mismatch)
                    == Wire.IdentityMismatch(
                        device: "nic0", address: Self.edu, part: "serial", expected: "1", found: "2"))
            let unknown = try await refusal(.identityUnknown("nic0", [address]))
            #expect(
                Wire.IdentityUnknown(unknown)
                    == Wire.IdentityUnknown(device: "nic0", part: "serial", candidates: [Self.edu]))
            let ambiguous = try await refusal(.ambiguous("nic0", [address]))
            #expect(Wire.AmbiguousDevice(ambiguous) == Wire.AmbiguousDevice(device: "nic0", candidates: [Self.edu]))
            let untestable = try await refusal(.selfTestUnavailable(address, message: "No KVM.", hint: "Load it."))
            #expect(Wire.SelfTestUnavailable(untestable)?.hint == "Load it.")
            #expect(daemon.log.all.contains { $0.hasPrefix("<4>restore of") && $0.contains("EBUSY") })
        }
    }

    @Test("the service introduces itself with a description that can be read")
    func introspection() async throws {
        try await RunningDaemon.with { daemon in
            let info = try await blocking { [path = daemon.path] in
                var client = try VarlinkClient(path: path)
                return try client.call(
                    "org.varlink.service.GetInfo", NoParameters(), as: VarlinkService.Information.self)
            }
            #expect(info.interfaces == ["org.varlink.service", "io.vfiod"])
            #expect(info.version == vfiodVersion)
        }
    }
}
