public import LinuxSystem
public import Logging
public import PCI

/// The devices of this host, and all that vfiod does to them.
///
/// Nothing here blocks the caller. The devices are known from memory, which the kernel's uevents keep current; the
/// host's files are read on lanes, and what can wait for a device on a lane of that device, so that one which hangs
/// holds up no other. A device has one operation at a time.
public actor PassthroughHost {
    /// Where the host's files and ours are, and how long is long.
    public struct Configuration: Sendable {
        /// Where the host's files are.
        public var root: HostRoot
        /// Where the intent log is kept. Its parent must exist.
        public var stateDirectory: String
        /// What the devices and pools of this host are called, until Apply says otherwise.
        public var names: NamedDevices
        /// How long a call waits for one step of an operation, which goes on in the background then.
        public var stepDeadline: Duration
        /// How often a step that does not end is looked at, to say who holds it up.
        public var watchInterval: Duration
        /// How long a call waits for what a device itself has to answer, before it does without.
        public var readDeadline: Duration
        /// How long after a failure recovery tries again.
        public var retryInterval: Duration
        /// The self-test guest's executable, an absolute path.
        public var selfTestGuest: String
        /// The bounds of a self-test.
        public var selfTestLimits: SelfTestLimits
        /// The directory of the sockets on which sessions begin.
        public var leaseDirectory: String
        /// What a lease may have.
        public var leaseLimits: LeaseLimits
        /// How long the steps of a session's end may take.
        public var sessionDeadlines: SessionDeadlines

        /// Creates a configuration.
        public init(
            root: HostRoot = HostRoot(), stateDirectory: String = "/var/lib/vfiod",
            names: NamedDevices = NamedDevices(),
            stepDeadline: Duration = .seconds(10), watchInterval: Duration = .seconds(1),
            readDeadline: Duration = .seconds(1), retryInterval: Duration = .seconds(5),
            selfTestGuest: String = "/usr/libexec/vfiod/vfiod-selftest-guest",
            selfTestLimits: SelfTestLimits = SelfTestLimits(), leaseDirectory: String = "/run/vfiod/leases",
            leaseLimits: LeaseLimits = LeaseLimits(), sessionDeadlines: SessionDeadlines = SessionDeadlines()
        ) {
            self.root = root
            self.stateDirectory = stateDirectory
            self.names = names
            self.stepDeadline = stepDeadline
            self.watchInterval = watchInterval
            self.readDeadline = readDeadline
            self.retryInterval = retryInterval
            self.selfTestGuest = selfTestGuest
            self.selfTestLimits = selfTestLimits
            self.leaseDirectory = leaseDirectory
            self.leaseLimits = leaseLimits
            self.sessionDeadlines = sessionDeadlines
        }
    }

    /// An operation and what comes of it.
    struct Running {
        let operation: RunningOperation
        /// Nil where it succeeded.
        let end: Eventual<PassthroughError?>
        /// The members of the IOMMU group that it works on too.
        var siblings: SiblingRecords?
    }

    /// The interrupt source groups that are live in vfiod. Whoever makes one enters it.
    public nonisolated let liveGroups = LiveGroups()

    nonisolated let configuration: Configuration
    nonisolated let planner: Planner
    nonisolated let reader: InventoryReader
    nonisolated let monitor: UeventMonitor
    nonisolated let logger: Logger
    nonisolated let writer: any SysfsWriting
    nonisolated let kernel: any Kernel
    /// On which devices that vfiod has open are watched.
    nonisolated let loop: EventLoop
    nonisolated let clock: any Clock<Duration>
    nonisolated let log: IntentLog
    nonisolated let stops: @Sendable (StopPoint) -> Void
    nonisolated let followers = DeviceFollowers()
    /// For what is read of the host's processes, mounts and the like, and never waits for a device.
    nonisolated let readingLane: BlockingLane
    /// For what is read of devices and never waits for them.
    nonisolated let inventoryLane: BlockingLane

    /// What the devices and pools are called now.
    var names: NamedDevices
    var records: [PCIAddress: DeviceRecord] = [:] {
        didSet { planner.divided.set(from: records) }
    }
    var running: [PCIAddress: Running] = [:]
    var inventory = Inventory()
    /// The first reading of all devices.
    var firstScan: Task<Void, Never>?
    /// Whether the kernel's events are being entered.
    var isEnteringNews = false
    /// The members of IOMMU groups that have come to stand against the use of a bound device, by that device.
    var drifts: [PCIAddress: [PCIAddress: Blocker]] = [:]
    /// What waits for devices, at most one reading each.
    var liveReadings: [PCIAddress: LiveReading] = [:]
    /// The devices whose reading did not come in time, and has not come yet.
    var overdue: Set<PCIAddress> = []
    /// Where sessions begin; nil until somebody serves them.
    var endpoints: (any LeaseEndpoints)?
    /// Leases that are being recorded.
    var attaching: [PCIAddress: LeaseTerms] = [:]
    /// How it stands with the devices of leases that are not idle.
    var leaseStates: [PCIAddress: LeaseState] = [:]
    /// The address spaces of IOMMU groups that are or were leased.
    var memories: [Int: LeaseMemory] = [:]

    /// Opens the intent log, and follows `uevents` from now on. Call ``recover()`` and then ``takeInventory()`` before
    /// anything else. What devices that are open tell of is taken on `loop`. `interfaceAddresses` tells the addresses of
    /// the host's network interfaces. `stops` is told of each stop point before the operation goes on from there. Throws
    /// what the state directory or the limit of threads refuses.
    public init(
        _ configuration: Configuration = Configuration(), on loop: EventLoop, uevents: any UeventSource,
        writer: any SysfsWriting = SysfsWriter(), kernel: any Kernel = LiveKernel(),
        clock: any Clock<Duration> = ContinuousClock(),
        interfaceAddresses: @escaping @Sendable () throws(KernelError) -> [InterfaceAddress] = {
            () throws(KernelError) in try InterfaceAddress.all()
        },
        stops: @escaping @Sendable (StopPoint) -> Void = { _ in }, logger: Logger
    ) throws(KernelError) {
        self.configuration = configuration
        names = configuration.names
        self.writer = writer
        self.kernel = kernel
        self.clock = clock
        self.loop = loop
        self.logger = logger
        self.stops = stops
        log = try IntentLog(directory: configuration.stateDirectory)
        readingLane = try BlockingLane(name: "host")
        inventoryLane = try BlockingLane(name: "inventory")
        planner = Planner(root: configuration.root, interfaceAddresses: interfaceAddresses)
        reader = InventoryReader(configuration.root.sysfs, logger: logger)
        monitor = try UeventMonitor(uevents, logger: logger)
    }

    nonisolated var sysfs: Sysfs { configuration.root.sysfs }
    nonisolated var holderSearch: HolderSearch { planner.holderSearch }

    /// Throws what a device that is worked on is busy with.
    func mustBeIdle(_ address: PCIAddress) throws(PassthroughError) {
        guard let state = running[address]?.operation.snapshot else { return }
        throw .busy(address, operation: state.name, step: state.step)
    }

    /// Whether no operation runs on a device.
    func isIdle(_ address: PCIAddress) -> Bool { running[address] == nil }

    /// Waits until the last operation of a device has ended.
    func settled(_ address: PCIAddress) async {
        while let end = running[address]?.end { _ = await end.value() }
    }
}
