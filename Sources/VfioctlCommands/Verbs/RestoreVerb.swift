internal import ArgumentParser
internal import VfiodAPI

struct RestoreVerb: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "restore", abstract: "Give a device back to the driver it had.",
        discussion: """
            Every setting is put back as it was at bind.

              vfioctl restore 00:11.0
            """)

    @OptionGroup var common: CommonOptions
    @Argument(help: DeviceArgument.help) var device: DeviceArgument
    @Flag(help: "Change nothing; print what would be done.")
    var dryRun = false

    func run() throws {
        let parameters = Restore.Parameters(device: device.text, dryRun: dryRun)
        let reply = try common.call(Restore.self, parameters, progress: \.progress)
        try common.show(reply) { dryRun ? dryRunText(reply.plan) : "\(device.text) is given back.\n" }
    }
}
