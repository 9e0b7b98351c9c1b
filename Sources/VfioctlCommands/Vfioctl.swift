public import ArgumentParser
internal import VfiodAPI

/// The command line of vfioctl. Each verb is a method of io.vfiod.
public struct Vfioctl: ParsableCommand {
    /// What the help says.
    public static let configuration = CommandConfiguration(
        commandName: "vfioctl", abstract: "Gives this host's PCI devices to guests and takes them back, through vfiod.",
        discussion: """
            A device is taken with bind, proven with selftest and given back with restore:

              vfioctl list
              vfioctl bind 0000:00:10.0
              vfioctl selftest 0000:00:10.0
              vfioctl restore 0000:00:10.0

            A device is named by its address, by its name in the configuration of vfiod, or by what it is: \
            serial=52-54-00-ff-ff-12-34-56, id=8086:10d3, path=00:1c.0/00.0, slot=4, or several of these with commas \
            between, which must all agree.

            EXIT STATUS: 0 done; 1 refused or failed; 2 the self-test lost an interrupt or got one too many; 64 wrong \
            usage; 69 vfiod cannot be reached.
            """,
        version: VfiodInterface.packageVersion,
        subcommands: [
            ListVerb.self, ShowVerb.self, PlanVerb.self, BindVerb.self, RestoreVerb.self, VirtualFunctionsVerb.self,
            ApplyVerb.self, ResetVerb.self, ReleaseVerb.self, SelfTestVerb.self, InterruptsVerb.self, AttachVerb.self,
            DetachVerb.self, LeasesVerb.self, MonitorVerb.self, VersionVerb.self,
        ])

    /// Creates the command.
    public init() {}
}

/// The exit statuses beside 0 and those of the argument parser (64).
enum ExitStatus {
    /// Refused or failed.
    static let failed = ExitCode(1)
    /// A self-test lost an interrupt or got one too many.
    static let selfTestFailed = ExitCode(2)
    /// The daemon cannot be reached (EX_UNAVAILABLE).
    static let unreachable = ExitCode(69)
}
