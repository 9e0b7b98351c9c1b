import ArgumentParser
import Testing
import VfiodAPI

@testable import VfioctlCommands

@Suite("vfioctl's command line")
struct CommandLineTests {
    @Test("verbs and options are read")
    func verbs() throws {
        let bind = try #require(
            try Vfioctl.parseAsRoot([
                "bind", "00:10.0", "--consent", "swap", "--consent", "console", "--dry-run", "--socket", "/tmp/s",
            ]) as? BindVerb)
        #expect(bind.device.text == "00:10.0")
        #expect(bind.consent == ["swap", "console"])
        #expect(bind.dryRun && bind.common.socket == "/tmp/s")
        let test = try #require(
            try Vfioctl.parseAsRoot([
                "selftest", "0000:00:10.0", "--type", "msix", "--vectors", "7", "--count", "3", "--json",
            ]) as? SelfTestVerb)
        #expect(test.type == .msix && test.vectors == 7 && test.count == 3 && test.common.json)
        #expect(test.common.socket == VfiodInterface.defaultSocketPath)
        for name in ["show", "describe"] { #expect(try Vfioctl.parseAsRoot([name, "00:10.0"]) is ShowVerb) }
        #expect(try Vfioctl.parseAsRoot(["list"]) is ListVerb)
        let plan = try #require(
            try Vfioctl.parseAsRoot(["plan", "bind", "03:01.0", "--consent", "swap"]) as? PlanVerb)
        #expect(plan.operation == "bind" && plan.device.text == "03:01.0" && plan.consent == ["swap"])
        let named = try #require(try Vfioctl.parseAsRoot(["restore", "id=8086:10d3,slot=4"]) as? RestoreVerb)
        #expect(named.device.text == "id=8086:10d3,slot=4")
        let reset = try #require(
            try Vfioctl.parseAsRoot(["reset", "00:11.0", "--method", "flr", "--consent", "no-reset", "--dry-run"])
                as? ResetVerb)
        #expect(reset.method == "flr" && reset.consent == ["no-reset"] && reset.dryRun)
        #expect(try Vfioctl.parseAsRoot(["release", "00:11.0"]) is ReleaseVerb)
        let attach = try #require(
            try Vfioctl.parseAsRoot(["attach", "00:11.0", "--uid", "1000", "--qemu", "512M"]) as? AttachVerb)
        #expect(attach.qemu == "512M" && attach.mode == nil && attach.uid == 1000)
        let apply = try #require(
            try Vfioctl.parseAsRoot(["apply", "--dry-run", "--no-boot-claims"]) as? ApplyVerb)
        #expect(apply.dryRun && apply.noBootClaims)
        let functions = try #require(
            try Vfioctl.parseAsRoot(["virtual-functions", "01:00.0", "7", "--dry-run"]) as? VirtualFunctionsVerb)
        #expect(functions.device.text == "01:00.0" && functions.count == 7 && functions.dryRun)
        #expect(try Vfioctl.parseAsRoot(["interrupts", "0001:00:10.0"]) is InterruptsVerb)
    }

    @Test(
        "wrong usage ends with status 64",
        arguments: [
            ["nonsense"], ["bind"], ["plan"], ["plan", "bind"], ["bind", ""], ["bind", "00:10.0", "00:11.0"],
            ["attach", "00:11.0", "--uid", "1", "--qemu", ""], ["attach", "00:11.0", "--uid", "1", "--qemu", "4G,x=y"],
            ["attach", "00:11.0", "--uid", "1", "--qemu", "4"], ["attach", "00:11.0", "--uid", "1", "--qemu", "G"],
            ["attach", "00:11.0", "--uid", "1", "--qemu", "4G", "--mode", "descriptors"],
            ["virtual-functions", "01:00.0", "-1"], ["virtual-functions", "01:00.0", "65536"],
            ["selftest", "00:10.0", "--type", "none"],
            ["selftest", "00:10.0", "--count", "many"], ["list", "--sockte", "/x"],
        ])
    func wrongUsage(arguments: [String]) throws {
        let error = #expect(throws: (any Error).self) { _ = try Vfioctl.parseAsRoot(arguments) }
        #expect(Vfioctl.exitCode(for: try #require(error)) == .validationFailure)
    }

    @Test("each verb's help has an example of it")
    func help() {
        for verb in Vfioctl.configuration.subcommands where verb != VersionVerb.self {
            let name = verb._commandName
            #expect(verb.configuration.discussion.contains("vfioctl \(name)"), "\(name)")
        }
        #expect(Vfioctl.helpMessage().contains("EXIT STATUS"))
    }
}
