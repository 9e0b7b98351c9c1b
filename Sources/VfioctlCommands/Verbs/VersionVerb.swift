internal import ArgumentParser
internal import Varlink
internal import VfiodAPI

struct VersionVerb: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "version", abstract: "Show the versions of vfioctl and of the vfiod that runs.")

    @OptionGroup var common: CommonOptions

    func run() throws {
        if !common.json { print("vfioctl \(VfiodInterface.packageVersion)") }
        let reply = try common.call(
            "org.varlink.service.GetInfo", NoParameters(), as: VarlinkService.Information.self)
        try common.show(reply) { "\(reply.product) \(reply.version)\n" }
    }
}
