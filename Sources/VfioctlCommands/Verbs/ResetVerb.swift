internal import ArgumentParser
internal import VfiodAPI

struct ResetVerb: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "reset", abstract: "Reset a device that is bound, and see whether it comes back.",
        discussion: """
            Without --method, by the first that the device has: show lists them. The method bus resets all that is behind \
            the same bridge, which all has to be bound. A device that does not come back as it was is quarantined: it is \
            refused to every use until release or restore.

              vfioctl reset 00:11.0
              vfioctl reset 00:12.0 --method flr --dry-run
              vfioctl reset 00:10.0 --consent no-reset
            """)

    @OptionGroup var common: CommonOptions
    @Argument(help: DeviceArgument.help) var device: DeviceArgument
    @Option(help: ArgumentHelp("How, by the kernel's name, such as flr, pm or bus.", valueName: "method"))
    var method: String?
    @Option(help: ArgumentHelp("A blocker to override; may be given more than once.", valueName: "code"))
    var consent: [String] = []
    @Flag(help: "Change nothing; print what would be done and what stands against it.")
    var dryRun = false

    func run() throws {
        let parameters = Reset.Parameters(device: device.text, method: method, consent: consent, dryRun: dryRun)
        let reply = try common.call(Reset.self, parameters, progress: \.progress)
        try common.show(reply) { dryRun ? dryRunText(reply.plan) : "\(device.text) is whole.\n" }
    }
}
