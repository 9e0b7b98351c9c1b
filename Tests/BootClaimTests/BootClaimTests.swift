import LinuxSystem
import PCI
import SystemPackage
import TestSupport
import Testing

@testable import BootClaim

/// A host as it is early in a boot: two network cards of one kind without a driver, the second with a serial number.
@Suite("Claims at boot") struct BootClaimTests {
    static let serial = "52-54-00-ff-ff-12-34-56"
    let fake: FakeHost
    let nic: PCIAddress
    let other: PCIAddress

    init() throws {
        fake = try FakeHost()
        nic = try #require(PCIAddress("0000:00:11.0"))
        other = try #require(PCIAddress("0000:00:12.0"))
        fake.addFunction(nic, iommuGroup: 3)
        var config = FakeConfigSpace()
        config.addExtended(id: 0x03, words: [0xff12_3456, 0x5254_00ff])
        fake.addFunction(other, iommuGroup: 4, config: config.bytes)
    }

    private var claimer: BootClaimer {
        BootClaimer(Sysfs(root: fake.root + "/sys")) { (value, path) throws(KernelError) in
            try fake.write(value, to: path)
        }
    }

    private func claim(_ identity: String, event: PCIAddress? = nil) throws -> [String] {
        claimer.claim(try #require(BootClaims("it \(identity)\n")), event: event)
    }

    private func override(_ address: PCIAddress) -> String? { fake.settings(of: address)["driver_override"] }

    @Test("what all parts tell is kept for vfio-pci, whichever device the event is about, and once")
    func taken() throws {
        for identity in [
            "serial=\(Self.serial)", "address=00:12.0", "path=00:12.0",
            "address=00:12.0,id=8086:10d3,serial=\(Self.serial)",
        ] {
            fake.set(other, "driver_override", "(null)\n")
            #expect(try claim(identity, event: nic) == ["it at \(other) is kept for vfio-pci"], "\(identity)")
            #expect(override(other) == "vfio-pci\n" && override(nic) == "(null)\n")
            #expect(try claim(identity, event: other) == [])
        }
    }

    @Test(
        "a part that differs, and several devices that agree: nothing is taken, and the event of that device says why")
    func notTaken() throws {
        #expect(try claim("address=00:11.0,serial=\(Self.serial)", event: other) == [])
        #expect(
            try claim("address=00:11.0,serial=\(Self.serial)", event: nic)
                == ["it is not taken: \(nic) has serial none instead of \(Self.serial)"])
        #expect(
            try claim("id=8086:10d3", event: nic) == ["it may be any of \(nic), \(other); none is taken"])
        #expect(try claim("address=00:1e.0", event: nic) == [])
        #expect(override(nic) == "(null)\n" && override(other) == "(null)\n")
    }

    @Test("a device that a driver has is left to it")
    func tooLate() throws {
        fake.addDriver("e1000e", matching: [nic])
        try fake.write("\(nic)", to: fake.root + "/sys/bus/pci/drivers_probe")
        #expect(fake.driver(of: nic) == "e1000e")
        #expect(try claim("address=00:11.0", event: other) == [])
        #expect(try claim("address=00:11.0", event: nic) == ["it at \(nic) is not taken: e1000e has it already"])
        #expect(override(nic) == "(null)\n")
    }

    @Test("a write that the kernel refuses is said with its errno, and the other claims go on")
    func refused() throws {
        fake.failWrite(1, with: .permissionDenied)
        let claims = try #require(BootClaims("a address=00:11.0\nb address=00:12.0\n"))
        let lines = claimer.claim(claims, event: nil)
        #expect(lines.count == 2 && lines[0].contains("EACCES") && lines[1] == "b at \(other) is kept for vfio-pci")
    }

    @Test("the text form is read as it is written, and what is none claims nothing")
    func text() throws {
        let claims = try #require(BootClaims("# c\n\nuplink serial=\(Self.serial)\nb id=8086:10d3,address=00:11.0\n"))
        #expect(claims.claims.map(\.name) == ["uplink", "b"])
        #expect(BootClaims(claims.description) == claims)
        #expect(BootClaims([]).description == "" && BootClaims("") == BootClaims([]))
        for text in [
            "uplink", "uplink ", " id=8086:10d3", "a id=8086:10d3 b", "a slot=4", "a id=\n", "a id=8086:10d3\nb",
        ] {
            #expect(BootClaims(text) == nil, "\(text)")
        }
        #expect(BootClaims(String(repeating: "#", count: BootClaims.maximumLength + 1)) == nil)
    }

    @Test("the process claims for the address it is given, writes to the kernel's log, and can be switched off")
    func process() throws {
        func run(_ commandLine: String, _ claims: String) throws -> String {
            fake.set("/proc/cmdline", commandLine)
            fake.set("/dev/kmsg", "")
            fake.set("/etc/vfiod/boot-claims", claims)
            let root = fake.root
            #expect(
                BootClaimProcess.main(
                    ["\(nic)"], claims: root + BootClaims.path, claimer: claimer, commandLine: root + "/proc/cmdline",
                    log: root + "/dev/kmsg") == 0)
            return fake.content("/dev/kmsg") ?? ""
        }
        #expect(try run("quiet vfiod.claims=off", "it address=00:11.0\n") == "" && override(nic) == "(null)\n")
        #expect(try run("quiet", "it address\n").contains("boot-claims cannot be read; nothing is claimed"))
        #expect(try run("quiet", "it address=00:11.0\n") == "<5>vfiod-claim: it at \(nic) is kept for vfio-pci\n")
        #expect(override(nic) == "vfio-pci\n")
        #expect(try run("quiet", "") == "")
    }
}
