internal import ArgumentParser
internal import VfiodAPI

struct AttachVerb: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "attach", abstract: "Give a bound device to a user, until detach.",
        discussion: """
            The user, and with --gid the members of that group too, may use the device through the socket that is printed. \
            Other devices of the same IOMMU group can be attached for the same owner only.

              vfioctl attach 00:11.0 --uid 1000
              vfioctl attach 00:11.0 --uid 1000 --gid 36 --dry-run
            """)

    @OptionGroup var common: CommonOptions
    @Argument(help: DeviceArgument.help) var device: DeviceArgument
    @Option(help: ArgumentHelp("The user that it is given to.", valueName: "number")) var uid: Int
    @Option(help: ArgumentHelp("The group whose members may use it too.", valueName: "number")) var gid: Int?
    @Option(help: ArgumentHelp("How it is to be used: descriptors.", valueName: "mode")) var mode = "descriptors"
    @Option(help: ArgumentHelp("A blocker to override; may be given more than once.", valueName: "code"))
    var consent: [String] = []
    @Flag(help: "Change nothing; print what would be done and what stands against it.")
    var dryRun = false

    func run() throws {
        let parameters = Attach.Parameters(
            device: device.text, uid: uid, gid: gid, mode: mode, consent: consent, dryRun: dryRun)
        let reply = try common.call(Attach.self, parameters)
        try common.show(reply) { dryRun ? dryRunText(reply.plan) : text(reply) }
    }

    func text(_ reply: Attach.Reply) -> String {
        let socket = reply.lease?.devices.first { $0.device == reply.device }?.socket ?? "?"
        return "\(device.text) is given to user \(uid). Sessions begin at \(socket)\n"
    }
}
