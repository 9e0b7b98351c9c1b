import LinuxSystem
import PCI
import TestSupport
import Testing

@testable import Passthrough

@Suite("Planner") struct PlannerTests {
    let fake: FakeHost
    let device: PCIAddress

    init() throws {
        fake = try FakeHost()
        device = try #require(PCIAddress("0000:00:01.0"))
        fake.addFunction(device, driver: "virtio-pci", iommuGroup: 1)
        mount("0:22 / /sys rw - sysfs sysfs rw")
    }

    private func mount(_ lines: String...) {
        fake.set("/proc/self/mountinfo", lines.map { "27 1 \($0)\n" }.joined())
    }

    private func blockers(
        _ address: PCIAddress? = nil, addresses: [InterfaceAddress] = []
    ) throws -> [Blocker] {
        let planner = Planner(root: HostRoot(path: fake.root), interfaceAddresses: { addresses })
        return try planner.bindPlan(address ?? device, nil).blockers
    }

    @Test("A device that nobody uses has no blockers") func free() throws {
        #expect(try blockers().isEmpty)
    }

    @Test("The root disk is found through its partition") func rootPartition() throws {
        fake.addDisk("vda", number: "254:0", on: device)
        fake.addPartition("vda1", number: "254:1", of: "vda", on: device)
        mount("254:1 / / rw,relatime - ext4 /dev/vda1 rw", "254:1 /srv /srv rw - ext4 /dev/vda1 rw")
        let found = try blockers()
        #expect(found.map(\.code) == [.rootDisk, .mountedFileSystem])
        #expect(found[0].evidence.contains("254:1 / /"))
        #expect(found[1].message.contains("/srv"))
        #expect(!BlockerCode.rootDisk.allowsConsent)
    }

    @Test("The root disk is found through device mapper over MD over partitions of two disks") func rootStack() throws {
        let second = try #require(PCIAddress("0000:00:02.0"))
        let third = try #require(PCIAddress("0000:00:03.0"))
        fake.addFunction(second, iommuGroup: 2)
        fake.addFunction(third, iommuGroup: 3)
        fake.addDisk("vda", number: "254:0", on: device)
        fake.addPartition("vda2", number: "254:2", of: "vda", on: device)
        fake.addDisk("vdb", number: "254:16", on: second)
        fake.addDisk("vdc", number: "254:32", on: third)
        fake.addMapped("md0", number: "9:0", over: ["vda2", "vdb"])
        fake.addMapped("dm-0", number: "253:0", over: ["md0"])
        fake.set("/sys/devices/virtual/block/md0/md/array_state", "clean\n")
        fake.set("/sys/devices/virtual/block/dm-0/dm/uuid", "LVM-abc\n")
        mount("253:0 / / rw - ext4 /dev/mapper/vg-root rw")
        #expect(try blockers().map(\.code) == [.rootDisk, .lvmMember, .raidMember])
        #expect(try blockers(second).map(\.code) == [.rootDisk, .lvmMember, .raidMember])
        #expect(try blockers(third).isEmpty)
    }

    @Test("Devices that are stacked in a circle are followed once") func circle() throws {
        fake.addDisk("vda", number: "254:0", on: device)
        fake.addMapped("dm-0", number: "253:0", over: ["dm-1", "vda"])
        fake.addMapped("dm-1", number: "253:1", over: ["dm-0"])
        mount("253:1 / /data rw - ext4 /dev/dm-1 rw")
        #expect(try blockers().map(\.code) == [.mountedFileSystem, .blockDeviceMember])
    }

    @Test("Every disk of a btrfs over several carries it") func btrfs() throws {
        let second = try #require(PCIAddress("0000:00:02.0"))
        fake.addFunction(second, iommuGroup: 2)
        fake.addDisk("vda", number: "254:0", on: device)
        fake.addDisk("vdb", number: "254:16", on: second)
        fake.set("/sys/fs/btrfs/1-2-3/devices/vda", "")
        fake.set("/sys/fs/btrfs/1-2-3/devices/vdb", "")
        mount("0:31 /@ / rw - btrfs /dev/vda rw")
        #expect(try blockers().map(\.code) == [.rootDisk])
        #expect(try blockers(second).map(\.code) == [.rootDisk])
    }

    @Test("An NVMe namespace with several paths is held by all its controllers") func multipath() throws {
        let subsystem = "/sys/devices/virtual/nvme-subsystem/nvme-subsys0"
        fake.set("\(subsystem)/nvme0n1/dev", "259:0\n")
        fake.link("\(subsystem)/nvme0", to: "../../../pci0000:00/\(device)/nvme/nvme0")
        fake.link("/sys/dev/block/259:0", to: "../../devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1")
        mount("259:0 / / rw - ext4 /dev/nvme0n1 rw")
        #expect(try blockers().map(\.code) == [.rootDisk])
    }

    @Test("A file behind a loop device or swap counts for the disk it is on") func files() throws {
        fake.addDisk("vda", number: "254:0", on: device)
        fake.addMapped("loop0", number: "7:0", over: [])
        fake.set("/sys/devices/virtual/block/loop0/loop/backing_file", "/data/my image\n")
        fake.set("/proc/swaps", "Filename Type Size Used Priority\n/data/swap\\040file file 1 0 -2\n")
        mount(
            "0:5 / / rw - tmpfs tmpfs rw", "254:0 / /data rw - ext4 /dev/vda rw", "7:0 / /mnt rw - ext4 /dev/loop0 rw")
        let found = try blockers()
        #expect(found.map(\.code) == [.mountedFileSystem, .swap])
        #expect(found[0].message.contains("/data, /mnt"))
        #expect(found[1].message.contains("/data/swap file"))
    }

    @Test("Swap on a partition is found through udev's name for it") func swap() throws {
        fake.addDisk("vda", number: "254:0", on: device)
        fake.addPartition("vda3", number: "254:3", of: "vda", on: device)
        fake.link("/dev/disk/by-label/SWAP", to: "../../vda3")
        fake.set("/proc/swaps", "Filename Type Size Used Priority\n/dev/disk/by-label/SWAP partition 1 0 -2\n")
        let found = try blockers()
        #expect(found.map(\.code) == [.swap])
        #expect(found[0].remedy.contains("swapoff"))
    }

    @Test("Mounts that only the first process sees count too") func sandboxed() throws {
        fake.addDisk("vda", number: "254:0", on: device)
        fake.set("/proc/1/mountinfo", "27 1 254:0 / /home rw - ext4 /dev/vda rw\n")
        #expect(try blockers().map(\.code) == [.mountedFileSystem])
    }

    @Test("Where the mounts cannot be read nothing is planned") func unreadable() throws {
        fake.remove("/proc/self/mountinfo")
        #expect(throws: PassthroughError.self) { try blockers() }
    }

    @Test(
        "Garbage in the host's tables blocks nothing and breaks nothing",
        arguments: [
            "", "\n\n", "- - - - - - -", "a b c d e f g h i j", "27 1 254:0 / / rw -", "\u{fffd}\u{0}\\777 \\04",
            "lo 00000000 00000000", "eth0 1 2 3", "x: y", ": IO-APIC", "0-x : BOOTFB", "- : efifb",
            String(repeating: "x ", count: 5000),
        ])
    func garbage(content: String) throws {
        fake.addInterface("eth0", on: device)
        for name in ["self/mountinfo", "swaps", "net/route", "net/ipv6_route", "interrupts", "iomem"] {
            fake.set("/proc/\(name)", content)
        }
        #expect(try blockers().isEmpty)
    }

    @Test("A network interface with an address is named with it") func address() throws {
        fake.addInterface("eth0", on: device)
        let found = try blockers(addresses: [
            InterfaceAddress(interface: "eth0", address: "192.0.2.1"),
            InterfaceAddress(interface: "lo", address: "127.0.0.1"),
        ])
        #expect(found.map(\.code) == [.networkAddress])
        #expect(found[0].message.contains("eth0") && found[0].message.contains("192.0.2.1"))
        #expect(found[0].code.allowsConsent)
    }

    @Test("An address on a bond or a bridge over the interface counts") func upperAddress() throws {
        fake.addInterface("eth0", on: device, below: ["bond0"])
        fake.set("/sys/devices/virtual/net/bond0/upper_br0/mtu", "1500\n")
        fake.set("/sys/devices/virtual/net/br0/mtu", "1500\n")
        fake.link("/sys/class/net/br0", to: "../../devices/virtual/net/br0")
        let found = try blockers(addresses: [InterfaceAddress(interface: "br0", address: "192.0.2.1")])
        #expect(found.map(\.code) == [.networkAddress, .networkUpper])
        #expect(found[0].message.contains("br0 over eth0"))
    }

    @Test("Default routes of both families are found, and those of others are not") func routes() throws {
        fake.addInterface("eth0", on: device)
        let header = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
        fake.set("/proc/net/route", header + "eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n")
        #expect(try blockers().map(\.code) == [.networkRoute])
        fake.set("/proc/net/route", header + "eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n")
        #expect(try blockers().map(\.code) == [.defaultRoute])
        fake.set("/proc/net/route", header)
        let zero = String(repeating: "0", count: 32)
        for (name, codes) in [("eth0", [BlockerCode.defaultRoute]), ("eth1", []), ("lo", [])] {
            fake.set("/proc/net/ipv6_route", "\(zero) 00 \(zero) 00 \(zero) 00000400 00000001 0 00000003 \(name)\n")
            #expect(try blockers().map(\.code) == codes)
        }
    }

    @Test("The display that the host booted with is the console") func console() throws {
        fake.set(device, "boot_vga", "1\n")
        #expect(try blockers().map(\.code) == [.console])
        fake.set(device, "boot_vga", "0\n")
        #expect(try blockers().isEmpty)
    }

    @Test("A sibling in the IOMMU group blocks with a driver that does DMA, and only then") func siblings() throws {
        let port = try #require(PCIAddress("0000:03:01.0"))
        let nic = try #require(PCIAddress("0000:03:03.0"))
        fake.addFunction(port, driver: "pcieport", iommuGroup: 1)
        fake.addFunction(nic, iommuGroup: 1)
        for (driver, codes) in [
            ("e1000", [BlockerCode.siblingInUse]), ("pci-stub", []), ("vfio-pci", []), ("mlx5_vfio_pci", []),
        ] {
            fake.link("/sys/devices/pci0000:00/\(nic)/driver", to: "../../../bus/pci/drivers/\(driver)")
            let found = try blockers()
            #expect(found.map(\.code) == codes)
            #expect(found.allSatisfy { $0.message.contains("0000:03:03.0") && $0.message.contains("e1000") })
        }
    }

    @Test("Without IOMMU and without vfio-pci both are said, with what to do") func platform() throws {
        fake.remove("/sys/devices/pci0000:00/\(device)/iommu_group")
        let planner = Planner(root: HostRoot(path: "/nonexistent"), interfaceAddresses: { [] })
        #expect(throws: PassthroughError.self) { try planner.bindPlan(device, nil) }
        #expect(try blockers().map(\.code) == [.noIOMMU])
        let bare = try FakeHost()
        bare.addFunction(device)
        bare.remove("/sys/bus/pci/drivers/vfio-pci")
        let found = try Planner(root: HostRoot(path: bare.root), interfaceAddresses: { [] })
            .bindPlan(device, nil).blockers
        #expect(found.map(\.code) == [.vfioUnavailable, .noIOMMU])
        #expect(found[0].remedy.contains("modprobe vfio-pci"))
    }

    @Test("Virtual functions, bridges and foreign bindings block") func functions() throws {
        fake.link("/sys/devices/pci0000:00/\(device)/virtfn0", to: "../0000:01:10.0")
        #expect(try blockers().map(\.code) == [.virtualFunctions])
        let bridge = try #require(PCIAddress("0000:00:1c.0"))
        fake.addFunction(bridge, classCode: 0x060400, iommuGroup: 5, config: FakeConfigSpace(headerType: 1).bytes)
        #expect(try blockers(bridge).map(\.code) == [.bridge])
        let isa = try #require(PCIAddress("0000:00:1f.0"))
        fake.addFunction(isa, classCode: 0x060100, iommuGroup: 6)
        #expect(try blockers(isa).map(\.code) == [.bridge])
        let odd = try #require(PCIAddress("0000:00:1d.0"))
        fake.addFunction(odd, classCode: 0xff0000, iommuGroup: 8)
        fake.set(odd, "secondary_bus_number", "5\n")
        #expect(try blockers(odd).map(\.code) == [.bridge])
        let foreign = try #require(PCIAddress("0000:00:14.0"))
        fake.addFunction(foreign, driver: "vfio-pci", iommuGroup: 7)
        #expect(try blockers(foreign).map(\.code) == [.foreign])
    }

    @Test("Consent lifts what allows it, and the root disk never") func consent() async throws {
        let address = InterfaceAddress(interface: "eth0", address: "192.0.2.1")
        let fixture = try HostFixture(addresses: [address])
        fixture.fake.addInterface("eth0", on: fixture.nic)
        let refusal = await failure { try await fixture.bind(consent: [.swap, .console]) }
        guard case .refused(fixture.nic, "bind", let found) = refusal else {
            Issue.record("\(String(describing: refusal))")
            return
        }
        #expect(found.map(\.code) == [.networkAddress])
        #expect(fixture.fake.writes.isEmpty && !fixture.hasRecord)
        fixture.fake.addDisk("vda", number: "254:0", on: fixture.nic)
        fixture.fake.set("/proc/self/mountinfo", "27 1 254:0 / / rw - ext4 /dev/vda rw\n")
        let all = Set(BlockerCode.allCases)
        guard case .refused(_, _, let root) = await failure(of: { try await fixture.bind(consent: all) }) else {
            Issue.record("the root disk was taken")
            return
        }
        #expect(root.map(\.code) == [.rootDisk])
        #expect(
            all.allSatisfy { Consent($0).code.allowsConsent == (Consent($0.rawValue) != nil) || $0 == .siblingInUse })
        fixture.fake.set("/proc/self/mountinfo", "27 1 254:0 / /data rw - ext4 /dev/vda rw\n")
        _ = try await fixture.bind(consent: [.networkAddress, .mountedFileSystem])
        #expect(fixture.fake.driver(of: fixture.nic) == "vfio-pci")
    }
}
