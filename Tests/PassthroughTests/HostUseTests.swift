import LinuxSystem
import PCI
import TestSupport
import Testing

@testable import Passthrough

@Suite("What the host uses a device for") struct HostUseTests {
    let fake: FakeHost
    let device: PCIAddress

    init() throws {
        fake = try FakeHost()
        device = try #require(PCIAddress("0000:00:01.0"))
        fake.addFunction(device, driver: "virtio-pci", iommuGroup: 1)
        fake.set("/proc/self/mountinfo", "")
    }

    private func blockers(addresses: [InterfaceAddress] = []) throws -> [Blocker] {
        let planner = Planner(root: HostRoot(path: fake.root), interfaceAddresses: { addresses })
        return try planner.bindPlan(device, nil).blockers
    }

    /// The one blocker there is; its consent must lift it, and no other.
    private func only(_ code: BlockerCode, addresses: [InterfaceAddress] = []) throws -> Blocker {
        let found = try blockers(addresses: addresses)
        #expect(found.map(\.code) == [code])
        let blocker = try #require(found.first)
        #expect(blocker.code.allowsConsent && blocker.consent?.description == code.rawValue)
        #expect(!blocker.evidence.isEmpty && !blocker.remedy.isEmpty && blocker.member == nil)
        #expect(Set([Consent(code)]).unmet(found, on: device).isEmpty)
        #expect(Set([Consent(code, of: device)]).unmet(found, on: device).isEmpty)
        let others = Set(BlockerCode.allCases.filter { $0 != code }.map { Consent($0) })
        #expect(others.unmet(found, on: device) == found)
        return blocker
    }

    @Test("A disk in an array of MD is named with the array, mounted or not") func raid() throws {
        fake.addDisk("vda", number: "254:0", on: device)
        fake.addPartition("vda1", number: "254:1", of: "vda", on: device)
        #expect(try blockers().isEmpty)
        fake.addMapped("md127", number: "9:127", over: ["vda1"])
        fake.set("/sys/devices/virtual/block/md127/md/array_state", "inactive\n")
        let found = try only(.raidMember)
        #expect(found.message.contains("md127") && found.evidence.contains("inactive"))
    }

    @Test(
        "What device mapper has upon a disk is told by its uuid",
        arguments: [
            ("LVM-0123456789", BlockerCode.lvmMember), ("mpath-3600508", .multipathMember),
            ("part1-mpath-3600508", .multipathMember), ("CRYPT-LUKS2-01-root", .blockDeviceMember),
            ("", .blockDeviceMember),
        ])
    func mapped(uuid: String, code: BlockerCode) throws {
        fake.addDisk("vda", number: "254:0", on: device)
        fake.addMapped("dm-0", number: "253:0", over: ["vda"])
        fake.set("/sys/devices/virtual/block/dm-0/dm/uuid", uuid + "\n")
        fake.set("/sys/devices/virtual/block/dm-0/dm/name", "data-home\n")
        let found = try only(code)
        #expect(found.message.contains("data-home (dm-0)"))
        #expect(found.evidence.contains(uuid.isEmpty ? "none" : uuid))
    }

    @Test("Several volumes over one disk are one blocker, which names five") func volumes() throws {
        fake.addDisk("vda", number: "254:0", on: device)
        for number in 0..<7 {
            fake.addMapped("dm-\(number)", number: "253:\(number)", over: ["vda"])
            fake.set("/sys/devices/virtual/block/dm-\(number)/dm/uuid", "LVM-\(number)\n")
        }
        #expect(try only(.lvmMember).message.contains("dm-0, dm-1, dm-2, dm-3, dm-4 and others"))
    }

    @Test("A cache upon a disk counts, and what is on another disk does not") func others() throws {
        fake.addDisk("vda", number: "254:0", on: device)
        let other = try #require(PCIAddress("0000:00:02.0"))
        fake.addFunction(other, iommuGroup: 2)
        fake.addDisk("vdb", number: "254:16", on: other)
        fake.addMapped("md0", number: "9:0", over: ["vdb"])
        fake.set("/sys/devices/virtual/block/md0/md/array_state", "clean\n")
        #expect(try blockers().isEmpty)
        fake.set("/sys/devices/pci0000:00/\(device)/virtio0/block/vda/bcache/state", "clean\n")
        #expect(try only(.blockDeviceMember).message.contains("vda"))
    }

    @Test("Swap on a logical volume names both") func swapOnVolume() throws {
        fake.addDisk("vda", number: "254:0", on: device)
        fake.addMapped("dm-3", number: "253:3", over: ["vda"])
        fake.set("/sys/devices/virtual/block/dm-3/dm/uuid", "LVM-1\n")
        fake.link("/dev/mapper/vg-swap", to: "../dm-3")
        fake.set("/proc/swaps", "Filename Type Size Used Priority\n/dev/mapper/vg-swap partition 1 0 -2\n")
        #expect(try blockers().map(\.code) == [.swap, .lvmMember])
    }

    @Test("An interface in a bridge or a bond needs no address to count", arguments: ["bridge", "bond", ""])
    func upper(kind: String) throws {
        fake.addInterface("eth0", on: device)
        #expect(try blockers().isEmpty)
        fake.addInterface("eth0", on: device, below: ["up0"])
        if !kind.isEmpty { fake.set("/sys/devices/virtual/net/up0/uevent", "DEVTYPE=\(kind)\nINTERFACE=up0\n") }
        let found = try only(.networkUpper)
        #expect(found.message.hasSuffix("is below \(kind.isEmpty ? "" : kind + " ")up0."))
        #expect(found.evidence.hasSuffix("/eth0/upper_up0"))
    }

    @Test("Routes through a gateway count, those that come with an address do not") func routes() throws {
        fake.addInterface("eth0", on: device)
        let header = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
        let connected = "eth0\t0002000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
        let behind = "eth0\t0009000A\t0202000A\t0003\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
        let other = "eth1\t0009000A\t0202000A\t0003\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
        let address = InterfaceAddress(interface: "eth0", address: "10.0.2.15")
        fake.set("/proc/net/route", header + other + connected)
        #expect(try blockers(addresses: [address]).map(\.code) == [.networkAddress])
        #expect(try only(.networkRoute).message.contains("10.0.2.0/24"))
        fake.set("/proc/net/route", header + connected + behind)
        let found = try blockers(addresses: [address])
        #expect(found.map(\.code) == [.networkAddress, .networkRoute])
        #expect(found.last?.message.hasSuffix("routes to 10.0.9.0/24.") == true)
        fake.set("/proc/net/route", header)
        let zero = String(repeating: "0", count: 32)
        let net = "20010db8" + String(repeating: "0", count: 24)
        fake.set("/proc/net/ipv6_route", "\(net) 20 \(zero) 00 \(zero) 00000400 00000001 0 00000001 eth0\n")
        #expect(try blockers().isEmpty)
        fake.set("/proc/net/ipv6_route", "\(net) 20 \(zero) 00 \(zero) 00000400 00000001 0 00000003 eth0\n")
        #expect(try only(.networkRoute).message.contains("\(net)/32"))
    }

    @Test("A framebuffer of a driver is the device's by its place in sysfs") func driverFramebuffer() throws {
        fake.link("/sys/class/graphics/fb0", to: "../../devices/pci0000:00/0000:00:02.0/graphics/fb0")
        fake.set("/sys/class/graphics/fbcon/rotate", "0\n")
        #expect(try blockers().isEmpty)
        fake.set("/sys/devices/pci0000:00/\(device)/graphics/fb1/name", "i915drmfb\n")
        fake.link("/sys/class/graphics/fb1", to: "../../devices/pci0000:00/\(device)/graphics/fb1")
        #expect(try only(.framebuffer).message.contains("fb1 (i915drmfb)"))
    }

    @Test(
        "A framebuffer of the firmware is the device's if it is in one of its regions",
        arguments: ["BOOTFB", "efifb", "simplefb", "simple-framebuffer.0", "vesafb"])
    func firmwareFramebuffer(name: String) throws {
        fake.set(device, "resource", "0x00000000e0000000 0x00000000efffffff 0x0000000000040200\n")
        for (start, codes) in [
            ("e0000000", [BlockerCode.framebuffer]), ("e1000000", [.framebuffer]), ("f0000000", []), ("00000000", []),
        ] {
            fake.set(
                "/proc/iomem",
                "d0000000-efffffff : PCI Bus 0000:00\n  e0000000-efffffff : \(device)\n    \(start)-f02fffff : \(name)\n"
            )
            #expect(try blockers().map(\.code) == codes)
        }
        fake.set("/proc/iomem", "e0000000-efffffff : \(device)\n  e0000000-e02fffff : \(name)\n")
        #expect(try only(.framebuffer).evidence == "/proc/iomem: e0000000-e02fffff : \(name)")
        fake.set("/proc/iomem", "e0000000-efffffff : \(device)\n  e0000000-e02fffff : i915\n")
        #expect(try blockers().isEmpty)
    }

    @Test("A process with a device node open is named with its unit, and udev is not") func openNodes() throws {
        fake.addDisk("vda", number: "254:0", on: device)
        fake.set("/sys/devices/pci0000:00/\(device)/virtio0/misc/port/uevent", "MAJOR=10\nDEVNAME=vport0p1\n")
        fake.link("/sys/dev/char/10:9", to: "../../devices/pci0000:00/\(device)/virtio0/misc/port")
        fake.addProcess(70, command: "other", open: ["/dev/null", "/dev/vdb", "socket:[7]"])
        fake.addProcess(71, command: "(udev-worker)", open: ["/dev/vda"])
        fake.set("/proc/71/cgroup", "0::/system.slice/systemd-udevd.service/udev\n")
        #expect(try blockers().isEmpty)
        fake.addProcess(77, command: "qemu", open: ["/dev/null", "/dev/vda"])
        fake.set("/proc/77/cgroup", "0::/system.slice/vm.service\n")
        let disk = try only(.openByProcess)
        #expect(disk.message.contains("/dev/vda") && disk.message.contains("process 77 (qemu) of vm.service"))
        #expect(disk.evidence == "/proc/77/fd/1: /dev/vda")
        fake.addProcess(77, command: "agent", open: ["/dev/vport0p1"])
        fake.remove("/proc/77/fd/1")
        #expect(try only(.openByProcess).message.contains("/dev/vport0p1"))
    }

    @Test("Memory that the firmware keeps mapped is never given away, and what it may give up is no matter")
    func reservedRegions() throws {
        let name = "/sys/kernel/iommu_groups/1/reserved_regions"
        fake.set(name, "0x00000000fee00000 0x00000000feefffff msi\n0x0000000000001000 0x1fff direct-relaxable\n")
        #expect(try blockers().isEmpty)
        fake.set(name, "0x000000007b000000 0x000000007f7fffff direct\n0x00000000fee00000 0x00000000feefffff msi\n")
        let found = try blockers()
        #expect(found.map(\.code) == [.reservedRegion])
        #expect(found.first?.message.contains("0x7b000000 to 0x7f7fffff") == true)
        #expect(found.first?.consent == nil && Consent("reserved-region") == nil)
        #expect(Set([Consent(.reservedRegion)]).unmet(found, on: device) == found)
    }

    @Test("Interrupts that are not remapped are told by their chips, unless the administrator allows it")
    func remapping() throws {
        let head = "           CPU0       CPU1\n"
        let plain = "  2:  0  0  IO-APIC   2-edge      timer\n 24:  5  0  PCI-MSI-0000:00:00.2   0-edge      AMD-Vi\n"
        let remapped =
            " 25:  1  7  IR-PCI-MSIX-0000:00:12.0   0-edge      nvme0q0\nLOC:  1  2  Local timer interrupts\n"
        fake.set("/proc/interrupts", head + plain + remapped)
        #expect(try blockers().isEmpty)
        fake.set("/proc/interrupts", head + " 11:  0  0  ITS-MSI 0 Edge  IR-nothing\n")
        #expect(try blockers().isEmpty)
        fake.set("/proc/interrupts", head + plain)
        let found = try blockers()
        #expect(found.map(\.code) == [.interruptsNotRemapped])
        #expect(found.first?.evidence == "/proc/interrupts: IO-APIC, not IR-IO-APIC")
        #expect(found.first?.consent == nil)
        fake.set("/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts", "N\n")
        #expect(try blockers().map(\.code) == [.interruptsNotRemapped])
        fake.set("/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts", "Y\n")
        #expect(try blockers().isEmpty)
    }
}
