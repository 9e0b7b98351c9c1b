internal import ArgumentParser
internal import VfiodAPI

struct VirtualFunctionsVerb: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "virtual-functions", abstract: "Give a physical function of SR-IOV virtual functions.",
        discussion: """
            The device keeps its driver, which makes them. No driver of the host takes the new ones: they are there to be \
            bound. Restore gives the device back those that it had, once none of them is bound any more. Of a bound device \
            that nobody uses, vfio-pci makes them, if its parameter enable_sriov says so.

              vfioctl virtual-functions 01:00.0 7
              vfioctl bind 01:10.0
              vfioctl restore 01:10.0
              vfioctl restore 01:00.0
            """)

    @OptionGroup var common: CommonOptions
    @Argument(help: DeviceArgument.help) var device: DeviceArgument
    @Argument(help: ArgumentHelp("How many it is to have.", valueName: "count")) var count: UInt16
    @Option(
        help: ArgumentHelp(
            "A blocker to override, such as network-address=01:10.0; may be given more than once.", valueName: "code"))
    var consent: [String] = []
    @Flag(help: "Change nothing; print what would be done and what stands against it.")
    var dryRun = false

    func run() throws {
        let parameters = SetVirtualFunctions.Parameters(
            device: device.text, count: Int(count), consent: consent, dryRun: dryRun)
        let reply = try common.call(SetVirtualFunctions.self, parameters, progress: \.progress)
        try common.show(reply) {
            dryRun ? dryRunText(reply.plan) : "\(device.text) has \(count) virtual functions.\n"
        }
    }
}
