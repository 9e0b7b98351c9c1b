internal import ArgumentParser
internal import VfiodAPI

struct DetachVerb: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "detach", abstract: "Take a device back from the user it was given to.",
        discussion: """
            A session that uses it is ended first. The device stays bound.

              vfioctl detach 00:11.0
            """)

    @OptionGroup var common: CommonOptions
    @Argument(help: DeviceArgument.help) var device: DeviceArgument
    @Flag(help: "Change nothing; print what would be done.")
    var dryRun = false

    func run() throws {
        let parameters = Detach.Parameters(device: device.text, dryRun: dryRun)
        let reply = try common.call(Detach.self, parameters, progress: \.progress)
        try common.show(reply) { dryRun ? dryRunText(reply.plan) : "\(device.text) is taken back.\n" }
    }
}
