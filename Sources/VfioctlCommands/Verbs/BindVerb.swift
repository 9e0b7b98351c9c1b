internal import ArgumentParser
internal import VfiodAPI

struct BindVerb: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bind", abstract: "Take a device from its driver and bind it to vfio-pci.",
        discussion: """
            What was there before is recorded, and restore puts it back. A device that the host needs is refused, with \
            what was seen and what would clear it; --consent names the blockers to override. A sibling in its IOMMU group \
            that is in use is named by its address, and is then bound, and given back, along with the device. Of a pool of \
            the configuration, the first device that is free is taken.

              vfioctl bind 00:11.0 --dry-run
              vfioctl bind 00:11.0 --consent network-address
              vfioctl bind serial=52-54-00-ff-ff-12-34-56
              vfioctl bind 03:01.0 --consent iommu-group-sibling-in-use=03:03.0 --consent network-address=03:03.0
            """)

    @OptionGroup var common: CommonOptions
    @Argument(help: DeviceArgument.help) var device: DeviceArgument
    @Option(help: ArgumentHelp("A blocker to override; may be given more than once.", valueName: "code"))
    var consent: [String] = []
    @Flag(help: "Change nothing; print what would be done and what stands against it.")
    var dryRun = false

    func run() throws {
        let parameters = Bind.Parameters(device: device.text, consent: consent, dryRun: dryRun)
        let reply = try common.call(Bind.self, parameters, progress: \.progress)
        try common.show(reply) {
            dryRun ? dryRunText(reply.plan) : "\(reply.device ?? device.text) is bound to vfio-pci.\n"
        }
    }
}

/// A plan that was only asked for.
func dryRunText(_ plan: Wire.Plan?) -> String {
    guard let plan, !(plan.steps.isEmpty && plan.blockers.isEmpty) else { return "There is nothing to do.\n" }
    let verdict = plan.blockers.isEmpty ? "Nothing stands against it." : "It would be refused, or need consent."
    return planText(plan) + verdict + "\n"
}
