internal import ArgumentParser
internal import VfiodAPI

struct ReleaseVerb: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "release", abstract: "Take a device out of quarantine.",
        discussion: """
            For a device that did not come out whole of a reset, or of a session, once you have looked at it: show says why it is \
            quarantined.

              vfioctl release 00:11.0
            """)

    @OptionGroup var common: CommonOptions
    @Argument(help: DeviceArgument.help) var device: DeviceArgument

    func run() throws {
        let reply = try common.call(Release.self, Release.Parameters(device: device.text))
        try common.show(reply) { "\(device.text) is released.\n" }
    }
}
