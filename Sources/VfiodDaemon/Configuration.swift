public import Logging
public import Passthrough

/// What vfiod can be told. The keys of the file, their ranges and defaults are those of ``ConfigurationKey``, and
/// configs/vfiod.toml lists them.
public struct Configuration: Hashable, Sendable {
    /// The file it was read from, nil if it was not.
    public var path: String?
    /// Where vfiod listens if the service manager gave it no socket.
    public var socketPath = "/run/vfiod/io.vfiod"
    /// Connections at one time.
    public var connections = 256
    /// Connections of one user at one time.
    public var connectionsPerUser = 128
    /// Where the intent log is kept.
    public var stateDirectory = "/var/lib/vfiod"
    /// How long a call waits for one step of an operation.
    public var stepDeadline = Duration.seconds(10)
    /// How long a shutdown waits for running operations.
    public var stopDeadline = Duration.seconds(20)
    /// Log lines below it are left out.
    public var logLevel = Logger.Level.info
    /// The self-test guest's executable.
    public var selfTestGuest = "/usr/libexec/vfiod/vfiod-selftest-guest"
    /// The bounds of a self-test.
    public var selfTestLimits = SelfTestLimits()
    /// The directory of the leases' sockets.
    public var leaseDirectory = "/run/vfiod/leases"
    /// What a lease may have.
    public var leaseLimits = LeaseLimits()
    /// How long the steps of a session's end may take.
    public var sessionDeadlines = SessionDeadlines()

    /// What the devices and pools of this host are called.
    public var names = NamedDevices()

    /// The defaults.
    public init() {}
}
