internal import ArgumentParser
internal import VfiodAPI

struct ApplyVerb: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "apply", abstract: "Make the host match the configuration.",
        discussion: """
            vfiod reads the [[device]] and [[pool]] tables of its configuration again. Virtual functions are made and \
            devices are bound as those say; what an earlier apply brought about and no table asks for any more is given \
            back. A device that is refused keeps no other from what it is to be.

            Devices with claim-at-boot are kept from their drivers from the next boot on. What that takes is written to \
            \(BootClaimsFile.defaultPath), and the initial RAM disk is made anew if it changed, which needs root and \
            may take a minute.

              vfioctl apply --dry-run
              vfioctl apply
            """)

    @OptionGroup var common: CommonOptions
    @Flag(help: "Change nothing; print what would be done and what stands against it.")
    var dryRun = false
    @Flag(help: "Leave what claims devices at the next boot as it is.")
    var noBootClaims = false
    @Option(help: .hidden) var bootClaims = BootClaimsFile.defaultPath
    @Option(help: .hidden) var updateInitramfs = BootClaimsFile.defaultTool

    func run() throws {
        let reply = try common.call(Apply.self, Apply.Parameters(dryRun: dryRun), progress: \.progress)
        let results = reply.results ?? []
        try common.show(reply) { appliedText(results) }
        if !noBootClaims {
            let file = BootClaimsFile(path: bootClaims, tool: updateInitramfs)
            try file.bring(to: reply.bootClaims ?? "", dryRun: dryRun)
        }
        if results.contains(where: { $0.outcome == "failed" }) { throw ExitStatus.failed }
    }
}

/// What became of each thing that the configuration asks.
func appliedText(_ results: [Wire.AppliedProvision]) -> String {
    if results.isEmpty { return "The configuration asks for nothing, and nothing is left of an earlier one.\n" }
    var text = ""
    for result in results {
        let device = result.device.map { "\(result.name) (\($0))" } ?? result.name
        text += "\(device): \(result.action): \(result.failure ?? result.outcome)"
        text += (result.error.map { " [\($0)]" } ?? "") + "\n"
        let plan = result.plan ?? Wire.Plan(steps: [], blockers: result.blockers)
        for line in planText(plan).split(separator: "\n") { text += "  \(line)\n" }
    }
    return text
}
