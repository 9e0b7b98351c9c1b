import ArgumentParser
import LinuxSystem
import SystemPackage
import Testing
import Varlink
import VfiodAPI

@testable import VfioctlCommands

@Suite("vfioctl's output")
struct OutputTests {
    private static let edu = Wire.Device(
        address: "0000:00:10.0", name: "Device 11e8", className: "Unclassified device", vendorId: "1234",
        deviceId: "11e8", classCode: "00ff00", driver: nil, iommuGroup: 3, intx: 1, msi: 1, msix: 0,
        state: "available")

    private static let blocker = Wire.Blocker(
        code: "network-address", message: "eth0 has an address.", evidence: "eth0: 10.0.0.2",
        remedy: "Remove it: ip address flush dev eth0", consent: true)

    private static let sibling = Wire.Blocker(
        code: "iommu-group-sibling-in-use", message: "0000:00:11.0 is in use.", evidence: "driver: e1000",
        remedy: "Consent to it.", consent: true, consentAs: "iommu-group-sibling-in-use=0000:00:11.0",
        member: "0000:00:11.0")

    @Test("devices are a table with columns as wide as needed")
    func list() {
        var nvme = Self.edu
        nvme.address = "0000:00:12.0"
        nvme.driver = "nvme"
        nvme.iommuGroup = nil
        nvme.msix = 2048
        nvme.name = "QEMU NVM Express Controller"
        nvme.state = "bound"
        #expect(
            ListVerb.text(List.Reply(devices: [Self.edu, nvme])) == """
                ADDRESS       STATE      DRIVER  GROUP  INTX  MSI  MSI-X  ID         NAME
                0000:00:10.0  available  -           3     1    1      0  1234:11e8  Device 11e8
                0000:00:12.0  bound      nvme        -     1    1   2048  1234:11e8  QEMU NVM Express Controller

                """)
    }

    @Test("what the configuration calls devices has a column where it calls any")
    func names() {
        var named = Self.edu
        named.configuredName = "nic0"
        #expect(
            ListVerb.text(List.Reply(devices: [named, Self.edu])) == """
                ADDRESS       STATE      DRIVER  GROUP  INTX  MSI  MSI-X  ID         CALLED  NAME
                0000:00:10.0  available  -           3     1    1      0  1234:11e8  nic0    Device 11e8
                0000:00:10.0  available  -           3     1    1      0  1234:11e8  -       Device 11e8

                """)
        #expect(
            MonitorVerb.line(Wire.Event(kind: "added", address: named.address, device: named)).contains("called nic0"))
    }

    @Test("a table fits the terminal: what is too long ends in an ellipsis")
    func width() {
        let lines = ListVerb.text(List.Reply(devices: [Self.edu]), width: 40).split(separator: "\n")
        #expect(lines.map(\.count) == [40, 40])
        #expect(lines.allSatisfy { $0.hasSuffix("…") })
        #expect(
            ListVerb.text(List.Reply(devices: [Self.edu]), width: 400) == ListVerb.text(List.Reply(devices: [Self.edu]))
        )
    }

    @Test("what a device that is gone was is shown, and no plan for it")
    func gone() {
        var details = Wire.Details(
            device: Self.edu, subsystemVendorId: "1af4", subsystemDeviceId: "1100", revision: "10", serialNumber: nil,
            slot: nil, path: [], numaNode: nil, driverOverride: nil, resetMethods: [], powerControl: nil,
            powerState: nil, link: nil, command: nil, regions: [], capabilities: [], virtualFunctions: nil,
            totalVirtualFunctions: nil, virtualFunctionAddresses: [], physicalFunction: nil, iommuGroupMembers: [],
            reservedRegions: [], holders: [], hostUses: [], unread: ["config", "link"],
            bindPlan: Wire.Plan(steps: [], blockers: []), drift: [], quarantine: nil, notes: [], recorded: nil,
            operation: nil)
        #expect(ShowVerb.text(details).contains("no answer for  config link\n"))
        #expect(ShowVerb.text(details).contains("command        not known\n"))
        details.device.state = "gone"
        let text = ShowVerb.text(details)
        #expect(text.contains("state          gone\n"))
        #expect(!text.contains("bind would") && !text.contains("command") && !text.contains("no answer"))
    }

    @Test("a self-test shows figures, names the vectors at fault as ranges, and its verdict")
    func selfTest() {
        let report = Wire.SelfTestReport(
            type: "msix", raisedBy: "loopback", vectors: 2048, tested: 16, fired: 160, delivered: 155, lost: 5,
            spurious: 1, lostVectors: [0, 1, 2, 7], spuriousVectors: [9], latencyP50: 12.83, latencyP99: 1240,
            latencyMax: 2_000_000, notes: ["walked in 8 windows"])
        #expect(
            SelfTestVerb.text(SelfTest.Reply(reports: [report], passed: false, progress: nil)) == """
                TYPE  RAISED BY  VECTORS  TESTED  FIRED  DELIVERED  LOST  SPURIOUS      P50      P99     MAX
                msix  loopback      2048      16    160        155     5         1  12.8 us  1.24 ms  2.00 s
                msix by loopback: lost on vectors 0-2, 7
                msix by loopback: spurious on vectors 9
                msix by loopback: walked in 8 windows
                FAILED

                """)
    }

    @Test("a plan shows its steps, and each blocker with evidence, remedy and the consent that overrides it")
    func plan() {
        let step = Wire.Step(action: "write", target: "/sys/x", value: "vfio-pci")
        #expect(
            dryRunText(Wire.Plan(steps: [step], blockers: [Self.blocker])) == """
                1. write /sys/x <- vfio-pci
                [network-address] eth0 has an address.
                  seen:   eth0: 10.0.0.2
                  remedy: Remove it: ip address flush dev eth0
                  or take it all the same: --consent network-address
                It would be refused, or need consent.

                """)
        #expect(dryRunText(Wire.Plan(steps: [], blockers: [])) == "There is nothing to do.\n")
        #expect(dryRunText(nil) == "There is nothing to do.\n")
    }

    @Test("a planned operation is a table of steps and one of blockers, and says what consent it needs")
    func plannedOperation() {
        let step = Wire.Step(action: "write", target: "/sys/x", value: "\n")
        let root = Wire.Blocker(code: "root-disk", message: "m", evidence: "e", remedy: "r", consent: false)
        let plan = Wire.Plan(steps: [step], blockers: [Self.blocker, Self.sibling])
        #expect(
            PlanVerb.text(PlanOperation.Reply(device: "0000:00:10.0", plan: plan, refusedBy: [Self.sibling])) == """
                STEP  ACTION  TARGET  VALUE
                   1  write   /sys/x  (empty)

                BLOCKER                     MEMBER        CONSENT
                network-address             -             given
                  eth0 has an address.
                  seen:   eth0: 10.0.0.2
                  remedy: Remove it: ip address flush dev eth0
                iommu-group-sibling-in-use  0000:00:11.0  --consent iommu-group-sibling-in-use=0000:00:11.0
                  0000:00:11.0 is in use.
                  seen:   driver: e1000
                  remedy: Consent to it.

                It needs consent: --consent iommu-group-sibling-in-use=0000:00:11.0

                """)
        func verdict(_ blockers: [Wire.Blocker], _ refusedBy: [Wire.Blocker]) -> String {
            let text = PlanVerb.text(
                PlanOperation.Reply(
                    device: "0000:00:10.0", plan: Wire.Plan(steps: [step], blockers: blockers), refusedBy: refusedBy))
            return text.split(separator: "\n").last.map(String.init) ?? ""
        }
        #expect(verdict([], []) == "Nothing stands against it.")
        #expect(verdict([Self.blocker], []) == "All that stands against it is consented to.")
        #expect(verdict([Self.blocker, root], [Self.blocker, root]) == "It would be refused.")
        #expect(
            PlanVerb.text(
                PlanOperation.Reply(device: "0000:00:10.0", plan: Wire.Plan(steps: [], blockers: []), refusedBy: []))
                == "There is nothing to do.\n")
    }

    @Test("interrupt groups are a table, with a line per vector where they are live")
    func interrupts() {
        let vector = Wire.InterruptVector(
            index: 0, wired: true, masked: false, pending: false, hostInterrupt: 40, hostCount: 7)
        let groups = [
            Wire.InterruptGroup(type: "intx", count: 0, state: "absent", vectors: []),
            Wire.InterruptGroup(type: "msix", count: 5, state: "live", vectors: [vector]),
        ]
        #expect(
            InterruptsVerb.text(Interrupts.Reply(groups: groups)) == """
                TYPE  VECTORS  STATE
                intx        0  absent
                msix        5  live

                TYPE  VECTOR  WIRED  MASKED  PENDING  HOST IRQ  COUNT
                msix       0  yes    no      no             40      7

                """)
    }

    @Test("a device for vfio-user comes with QEMU's arguments, or is nothing but those")
    func attached() throws {
        let path = "/run/vfiod/leases/0000:00:11.0"
        let device = Wire.LeasedDevice(
            device: "0000:00:11.0", socket: path, state: "idle", session: nil, holders: [], failure: nil)
        func text(_ mode: String, mapsBars: Bool = false, _ arguments: [String]) throws -> String {
            let lease = Wire.Lease(
                iommuGroup: 3, uid: 1000, gid: nil, mode: mode, mapsBars: mapsBars, devices: [device], mappings: 0,
                mappedBytes: 0)
            let verb = try #require(
                try Vfioctl.parseAsRoot(["attach", "00:11.0", "--uid", "1000"] + arguments) as? AttachVerb)
            return verb.text(Attach.Reply(device: "0000:00:11.0", lease: lease, plan: nil))
        }
        let given = "00:11.0 is given to user 1000. Sessions begin at \(path)\n"
        #expect(try text("descriptors", []) == given)
        func arguments(_ size: String) -> String {
            "-object memory-backend-memfd,id=vfiod-memory,size=\(size),share=on -machine memory-backend=vfiod-memory"
                + #" -device {"driver":"vfio-user-pci","x-msg-timeout":60000,"socket":{"type":"unix","path":""# + path
                + #""}}"# + "\n"
        }
        #expect(
            try text("vfio-user", ["--mode", "vfio-user"])
                == given + "For QEMU, with the size of the guest's memory:\n  " + arguments("SIZE")
                + "The VMM reaches the device's registers through vfiod only (map-bars in vfiod.toml).\n")
        #expect(
            try text("vfio-user", mapsBars: true, ["--mode", "vfio-user"]).contains("given the device's descriptor"))
        #expect(try text("vfio-user", ["--qemu", "4G"]) == arguments("4G"))
    }

    @Test("leases are a table, with who uses or holds each device, and what failed below it")
    func leases() {
        func device(_ address: String, _ state: String) -> Wire.LeasedDevice {
            Wire.LeasedDevice(
                device: address, socket: "/run/x", state: state, session: nil, holders: [], failure: nil)
        }
        var devices = [
            device("0000:00:10.0", "in-use"), device("0000:00:11.0", "held"), device("0000:00:12.0", "quarantined"),
        ]
        devices[0].session = Wire.SessionPeer(processId: 77, uid: 1000, gid: 36)
        devices[1].holders = [Wire.Holder(processId: 99, command: "keeper", unit: "vm.service", descriptors: [3])]
        devices[2].failure = "reset: EIO"
        let lease = Wire.Lease(
            iommuGroup: 3, uid: 1000, gid: 36, mode: "descriptors", mapsBars: false,
            devices: devices, mappings: 0, mappedBytes: 0)
        let user = Wire.Lease(
            iommuGroup: 4, uid: 1001, gid: nil, mode: "vfio-user", mapsBars: true,
            devices: [device("0000:00:13.0", "idle")], mappings: 0, mappedBytes: 0)
        #expect(
            LeasesVerb.text(Leases.Reply(leases: [lease, user])) == """
                DEVICE        GROUP   UID  GID  MODE         BARS    STATE        PROCESS
                0000:00:10.0      3  1000   36  descriptors  -       in-use       77
                0000:00:11.0      3  1000   36  descriptors  -       held         99 (keeper) of vm.service
                0000:00:12.0      3  1000   36  descriptors  -       quarantined  -
                0000:00:13.0      4  1001    -  vfio-user    mapped  idle         -

                0000:00:12.0 quarantined: reset: EIO

                """)
    }

    @Test("a device's details say what is there, and what a bind would meet")
    func describe() {
        let details = Wire.Details(
            device: Self.edu, subsystemVendorId: "1af4", subsystemDeviceId: "1100", revision: "10",
            serialNumber: "52-54-00-ff-ff-12-34-56", slot: "4", path: ["0000:00:02.0", "0000:00:10.0"], numaNode: nil,
            driverOverride: nil, resetMethods: ["flr", "pm"], powerControl: "on", powerState: "D0",
            link: Wire.Link(speed: "8.0 GT/s PCIe", width: 4, maxSpeed: "16.0 GT/s PCIe", maxWidth: 8),
            command: Wire.Command(io: false, memory: true, busMaster: false, intxDisabled: true),
            regions: [
                Wire.Region(
                    index: 0, space: "memory", address: "fe000000", size: 16384, wide: true, prefetchable: false)
            ],
            capabilities: [
                Wire.Capability(id: "09", extended: false, offset: 0x40, name: "Vendor Specific"),
                Wire.Capability(id: "05", extended: false, offset: 0x50, name: "MSI"),
                Wire.Capability(id: "09", extended: false, offset: 0x60, name: "Vendor Specific"),
                Wire.Capability(id: "0099", extended: true, offset: 0x100, name: nil),
            ],
            virtualFunctions: 1, totalVirtualFunctions: 7, virtualFunctionAddresses: ["0000:00:10.1"],
            physicalFunction: nil,
            iommuGroupMembers: [
                Wire.IOMMUGroupMember(address: "0000:00:10.0", driver: nil, onBehalfOf: "0000:00:10.1")
            ],
            reservedRegions: [Wire.ReservedRegion(first: "fee00000", last: "feefffff", kind: "msi")],
            holders: [Wire.Holder(processId: 7, command: "qemu", unit: "vm.service", descriptors: [9, 11])],
            hostUses: [Self.blocker], unread: ["driver_override"],
            bindPlan: Wire.Plan(steps: [], blockers: [Self.blocker]), drift: [Self.sibling],
            quarantine: "After a reset by flr, it is dead.", notes: [Self.blocker], recorded: ["driver": "edu"],
            operation: Wire.Operation(name: "restore", step: "unbind", since: 1, note: "held by process 7"))
        let text = ShowVerb.text(details)
        for line in [
            "0000:00:10.0  Device 11e8\n", "interrupts     INTx 1, MSI 1, MSI-X 0\n", "reset methods  flr pm\n",
            "SR-IOV         1 of 7 virtual functions\n  0000:00:10.1\n", "serial number  52-54-00-ff-ff-12-34-56\n",
            "slot           4\n", "path           0000:00:02.0 > 0000:00:10.0\n", "override       not known\n",
            "power          D0, power/control on\n", "command        I/O off, memory on, bus master off, INTx off\n",
            "link           8.0 GT/s PCIe x4 of 16.0 GT/s PCIe x8\n", "  BAR 0  0xfe000000  16 KiB  memory, 64-bit\n",
            "capabilities   2 Vendor Specific, MSI, extended 0099\n", "  reserved 0xfee00000 to 0xfeefffff, msi\n",
            "held by        process 7 (qemu) of vm.service, descriptors 9 11\n",
            "used by host   eth0 has an address.\n", "  driver = edu\n",
            "  0000:00:10.0  no driver, on behalf of 0000:00:10.1\n",
            "drift          0000:00:11.0 is in use.\n  remedy: Consent to it.\n",
            "quarantined    After a reset by flr, it is dead.\n  remedy: vfioctl reset 0000:00:10.0, then",
            "note           eth0 has an address. [network-address]\n  remedy: Remove it",
            "running        restore, at unbind: held by process 7\n", "  [network-address] eth0 has an address.\n",
        ] {
            #expect(text.contains(line), "\(line)")
        }
    }

    @Test("numbers are said so that people can read them")
    func wording() {
        #expect([0, 1000, 4096, 6 << 20, 1 << 40].map(size) == ["0 B", "1000 B", "4 KiB", "6 MiB", "1 TiB"])
        #expect(ranges([]) == "none")
        #expect(ranges([5]) == "5")
        #expect(ranges([0, 1, 2, 4, 6, 7]) == "0-2, 4, 6-7")
        #expect(latency(0) == "0.00 us")
        #expect(latency(9.996) == "10.00 us")
        #expect(latency(123.4) == "123 us")
        #expect(latency(999_999) == "1000 ms")
        #expect(latency(.nan) == "? us")
        #expect(latency(.infinity) == "? s")
    }

    @Test("an error says what failed, on which device and what to do, and has its exit status")
    func failures() {
        func failure(_ error: VarlinkError) -> Failure { Failure(.refused(error), socket: "/s") }
        let kernel = failure(
            Wire.KernelRefused(
                device: "0000:00:10.0", step: "unbind", call: "write /sys/x", errno: "EBUSY", hint: "Wait."
            ).varlinkError)
        #expect(
            kernel.text
                == "0000:00:10.0: the step unbind failed, write /sys/x gave EBUSY. Wait. [io.vfiod.KernelRefused]")
        #expect(kernel.status == ExitStatus.failed)
        let askedBack = failure(Wire.DeviceAskedBack(device: "0000:00:10.0", operation: "selftest").varlinkError)
        #expect(askedBack.text.hasPrefix("selftest of 0000:00:10.0 ended early: the host asks for the device back"))
        #expect(askedBack.text.contains("vfioctl restore 0000:00:10.0"))
        let failed = failure(Wire.DeviceFailed(device: "0000:00:10.0", operation: "selftest").varlinkError)
        #expect(failed.text.contains("the device reported an uncorrectable error"))
        let method = failure(
            Wire.NoSuchResetMethod(device: "0000:00:10.0", method: "x", available: ["flr", "bus"]).varlinkError)
        #expect(
            method.text
                == "0000:00:10.0 has no reset method x; those it has: flr, bus. [io.vfiod.NoSuchResetMethod]")
        let none = failure(
            Wire.NoSuchResetMethod(device: "0000:00:10.0", method: "x", available: []).varlinkError)
        #expect(none.text.contains("those it has: none"))
        let quarantined = failure(Wire.DeviceQuarantined(device: "0000:00:10.0", reason: "It is dead.").varlinkError)
        #expect(quarantined.text.contains("It is dead.") && quarantined.text.contains("vfioctl release 0000:00:10.0"))
        let moved = failure(
            Wire.IdentityMismatch(
                device: "nic0", address: "0000:00:11.0", part: "slot", expected: "4", found: "none"
            ).varlinkError)
        #expect(
            moved.text == "nic0 should be 0000:00:11.0, but its slot is none instead of 4. Nothing was done. "
                + "[io.vfiod.IdentityMismatch]")
        let untold = failure(
            Wire.IdentityUnknown(device: "nic0", part: "serial", candidates: ["0000:00:11.0"]).varlinkError)
        #expect(untold.text.contains("the serial of 0000:00:11.0 has not been read"))
        let several = failure(Wire.AmbiguousDevice(device: "nic0", candidates: ["a", "b"]).varlinkError)
        #expect(several.text.hasPrefix("nic0 may be any of a, b."))
        let pool = failure(Wire.DeviceIsPool(device: "nics", members: ["a", "b"]).varlinkError)
        #expect(pool.text.hasPrefix("nics is a pool; name one of its devices: a, b."))
        let members = [Wire.PoolMember(member: "a", reason: "It is bound."), Wire.PoolMember(member: "b", reason: "x")]
        #expect(
            failure(Wire.PoolExhausted(device: "nics", members: members).varlinkError).text
                == "no device of the pool nics is free. [io.vfiod.PoolExhausted]\n  a: It is bound.\n  b: x")
        #expect(failure(.invalidParameter("device")).text.contains("parts such as id=8086:10d3"))
        let lost = failure(Wire.MonitorEnded(reason: "events-lost").varlinkError)
        #expect(lost.text.hasPrefix("events were lost"))
        let refused = failure(
            Wire.Refused(device: "0000:00:10.0", operation: "bind", blockers: [Self.blocker]).varlinkError)
        #expect(refused.text.hasPrefix("bind of 0000:00:10.0 was refused. [io.vfiod.Refused]\n[network-address]"))
        #expect(refused.text.contains("--consent network-address"))
        #expect(
            failure(.invalidParameter("vectors")).text
                == "vfiod does not take this value of vectors. [org.varlink.service.InvalidParameter]")
        #expect(
            failure(.methodNotFound("io.vfiod.X")).text
                == "vfiod answered with an error. [org.varlink.service.MethodNotFound]")
        let unreachable = Failure(
            .unreachable(KernelError("connect", on: "/s", .noSuchFileOrDirectory)), socket: "/s")
        #expect(unreachable.text.contains("ENOENT") && unreachable.text.contains("vfiod.socket"))
        #expect(unreachable.status == ExitStatus.unreachable)
        #expect(Failure(.closed, socket: "/s").status == ExitStatus.unreachable)
        #expect(Failure(.unintelligible(reason: "x"), socket: "/s").status == ExitStatus.failed)
    }

    @Test("an event is one line: what happened, to which device, and what it is like then")
    func events() {
        var edu = Self.edu
        edu.state = "bound"
        edu.driver = "vfio-pci"
        let operation = Wire.Operation(name: "bind", step: "probe", since: 1, note: "held by process 7")
        let lines = [
            Wire.Event(kind: "complete"),
            Wire.Event(kind: "removed", address: edu.address),
            Wire.Event(kind: "device", address: edu.address, device: Self.edu, virtualFunctions: 2, drift: []),
            Wire.Event(kind: "operation-step", address: edu.address, operation: operation),
            Wire.Event(
                kind: "operation-ended", address: edu.address, device: edu, operation: operation, failure: "no"),
            Wire.Event(kind: "drift-begun", address: edu.address, drift: [Self.sibling]),
        ].map(MonitorVerb.line)
        #expect(
            lines == [
                "complete", "removed         0000:00:10.0",
                "device          0000:00:10.0  available, no driver, IOMMU group 3, 2 virtual functions, Device 11e8",
                "operation-step  0000:00:10.0  bind at probe: held by process 7",
                "operation-ended 0000:00:10.0  bound, driver vfio-pci, IOMMU group 3, Device 11e8; "
                    + "bind at probe: held by process 7; failed: no",
                "drift-begun     0000:00:10.0  0000:00:11.0 is in use.",
            ])
    }
}
