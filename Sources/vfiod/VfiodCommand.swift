internal import ArgumentParser
internal import VfiodDaemon

/// The command line of vfiod.
struct VfiodCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "vfiod", abstract: "Owns the PCI devices that this host gives to guests.",
        discussion: """
            Serves the Varlink interface io.vfiod on a Unix socket: the one that the service manager passes, or the one \
            that the configuration names. vfioctl is its client.

              vfiod --check-config --config /etc/vfiod/vfiod.toml
            """,
        version: vfiodVersion)

    @Option(help: ArgumentHelp("The configuration file.", valueName: "path"))
    var config: String?

    @Flag(help: "Read the configuration, say what is wrong with it, and exit.")
    var checkConfig = false

    func run() async throws {
        let path = config ?? "/etc/vfiod/vfiod.toml"
        // A file that was named has to be there; the usual one may be missing.
        let configuration = try Configuration(file: path, required: config != nil)
        if checkConfig {
            print("\(path) is valid")
        } else {
            try await runVfiod(configuration)
        }
    }
}
