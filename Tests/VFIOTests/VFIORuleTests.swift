import LinuxSystem
import TestSupport
import Testing

@Suite("VFIO kernel rules")
struct VFIORuleTests {
    @Test("the fake keeps the kernel's VFIO rules", arguments: VFIORules.all + VFIORules.bus)
    func fake(_ rule: VFIORule) throws {
        for host in [
            VFIOHost.fake("fake"), VFIOHost.fake("fake before 6.5", isLinux6dot5: false),
            VFIOHost.fake("fake from 7.3", isLinux7dot3: true),
            VFIOHost.fake("fake without remapping", remapsInterrupts: false),
        ] {
            try VFIORuleRunner.run(rule, on: host)
        }
    }

    // One test, not one per rule at a time: the rules share the lab's devices.
    @Test(
        "the live kernel keeps the VFIO rules",
        .enabled(if: Requirements.vfioLab, "needs the lab's devices on vfio-pci"))
    func live() throws {
        let host = try VFIOHost.live()
        for rule in VFIORules.all {
            #expect(throws: Never.self, "\(rule.name)") { try VFIORuleRunner.run(rule, on: host) }
        }
    }
}
