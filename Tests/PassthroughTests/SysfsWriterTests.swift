import LinuxSystem
import SystemPackage
import TestSupport
import Testing

@testable import Passthrough

@Suite("Sysfs writer") struct SysfsWriterTests {
    let directory: TemporaryDirectory

    init() throws {
        directory = try TemporaryDirectory()
        for name in ["bus", "bus/pci", "bus/pci/devices", "bus/pci/devices/0000:00:11.0"] {
            try makeDirectory(directory.file(name))
        }
        try replaceFile(attribute("driver_override"), with: Array("(null)\n".utf8))
        try replaceFile(attribute("config"), with: [])
    }

    private func attribute(_ name: String) -> String { directory.file("bus/pci/devices/0000:00:11.0/\(name)") }

    /// A program that stands for vfiod's executable.
    private func writer(_ script: String) throws -> SysfsWriter {
        let path = directory.file("helper")
        try replaceFile(path, with: Array("#!/bin/sh\n\(script)\n".utf8), permissions: 0o700)
        return SysfsWriter(executable: path)
    }

    @Test("The helper writes an attribute of a PCI function") func write() throws {
        let status = SysfsWriter.main(
            ["sysfs-write", attribute("driver_override"), "vfio-pci"], root: directory.path)
        #expect(status == 0)
        #expect(try readText(attribute("driver_override")).hasPrefix("vfio-pci"))
    }

    @Test("The helper's status is the kernel's errno") func errno() {
        let status = SysfsWriter.main(["sysfs-write", attribute("enable"), "1"], root: directory.path)
        #expect(status == 2)
    }

    @Test(
        "The helper touches nothing but what vfiod needs",
        arguments: [
            "bus/pci/devices/0000:00:11.0/config", "bus/pci/devices/0000:00:11.0/remove",
            "bus/pci/devices/0000:00:11.0/resource0",
            "bus/pci/devices/../../x/enable",
            "bus/pci/devices/0000:00:11.0/power/../enable", "bus/pci/drivers/../drivers_probe/bind", "bus/pci/rescan",
            "bus/pci/drivers//unbind", "bus/pci/drivers/x/new_id", "bus/pci/drivers_probe/", "power/state", "",
            "bus/usb/drivers_probe", "bus/pci/devices/0000:00:11.0/driver/unbind",
        ])
    func notAllowed(path: String) {
        #expect(SysfsWriter.main(["sysfs-write", directory.file(path), "1"], root: directory.path) == 255)
        #expect(SysfsWriter.main(["sysfs-read", directory.file(path)], root: directory.path) == 255)
    }

    @Test(
        "The helper reads what waits for the device lock, and nothing else",
        arguments: [
            ("driver_override", true), ("sriov_numvfs", true), ("enable", false), ("config", false),
        ])
    func readable(name: String, isRead: Bool) {
        #expect(SysfsWriter.mayRead(attribute(name), below: directory.path) == isRead)
    }

    @Test(
        "The helper takes all it needs to bind, reset and restore",
        arguments: [
            "bus/pci/drivers_probe", "bus/pci/drivers/e1000e/bind", "bus/pci/drivers/vfio-pci/unbind",
            "bus/pci/devices/0000:00:11.0/driver_override", "bus/pci/devices/0000:00:11.0/power/control",
            "bus/pci/devices/0000:00:11.0/enable", "bus/pci/devices/0000:00:11.0/sriov_numvfs",
            "bus/pci/devices/0000:00:11.0/reset_method", "bus/pci/devices/0000:00:11.0/reset",
        ])
    func allowed(path: String) {
        #expect(SysfsWriter.mayWrite("/sys/" + path, below: "/sys"))
        #expect(!SysfsWriter.mayWrite("/" + path, below: "/sys"))
    }

    @Test(
        "Wrong arguments are refused",
        arguments: [
            [], ["sysfs-write"], ["sysfs-write", "/sys/bus/pci/drivers_probe"], ["sysfs-read"],
            ["sysfs-erase", "/sys/bus/pci/drivers_probe", "1"],
        ])
    func arguments(_ arguments: [String]) {
        #expect(SysfsWriter.main(arguments) == 255)
    }

    @Test("The errno of a helper comes back, and its death too") func results() throws {
        try writer("test \"$1 $2 $3\" = 'sysfs-write /a b'").write("b", to: "/a")
        #expect(throws: KernelError("write", on: "/a", .resourceBusy)) { try writer("exit 16").write("b", to: "/a") }
        #expect(throws: KernelError("write", on: "/a", .notPermitted)) { try writer("exit 255").write("b", to: "/a") }
        #expect(throws: KernelError("write", on: "/a", .interrupted)) { try writer("kill -9 $$").write("b", to: "/a") }
        #expect(throws: KernelError.self) { try SysfsWriter(executable: "/nonexistent").write("b", to: "/a") }
    }

    @Test("What a helper reads comes back byte for byte") func read() throws {
        #expect(try writer("printf '(null)\\n' >&3").read("/a") == "(null)\n")
        #expect(try writer("exit 0").read("/a").isEmpty)
        #expect(throws: KernelError("read", on: "/a", .noSuchFileOrDirectory)) { try writer("exit 2").read("/a") }
    }
}
