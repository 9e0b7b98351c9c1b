public import PCI

/// What the passthrough host can be asked to do. The daemon's request handlers speak to this and to nothing below it.
///
/// Progress lines are for people. They come from any thread, in order, and before the call returns.
public protocol DeviceOperations: Sendable {
    /// Every PCI function of the host, in the order of addresses.
    func list() async throws(PassthroughError) -> [DeviceSummary]

    /// The device or the pool that a selector names.
    func target(of selector: DeviceSelector) async throws(PassthroughError) -> DeviceTarget

    /// The devices as they are now, and all that happens to them from then on.
    func follow() async throws(PassthroughError) -> DeviceFeed

    /// All there is to know about one device.
    func describe(_ address: PCIAddress) async throws(PassthroughError) -> DeviceDetails

    /// What an operation would do now, and what stands against it.
    func plan(_ operation: PlannedOperation, _ address: PCIAddress) async throws(PassthroughError) -> Plan

    /// Binds to vfio-pci. With `dryRun`, only returns the plan: no blocker makes that an error.
    func bind(
        _ address: PCIAddress, consent: Set<Consent>, dryRun: Bool, progress: @escaping ProgressReport
    ) async throws(PassthroughError) -> Plan

    /// Binds the first device of a pool that is free. With `dryRun`, only chooses and plans.
    func bind(
        firstFreeOf pool: String, consent: Set<Consent>, dryRun: Bool, progress: @escaping ProgressReport
    ) async throws(PassthroughError) -> PoolChoice

    /// Gives back. With `dryRun`, only returns the plan.
    func restore(
        _ address: PCIAddress, dryRun: Bool, progress: @escaping ProgressReport
    ) async throws(PassthroughError) -> Plan

    /// Gives a physical function `count` virtual functions. With `dryRun`, only returns the plan.
    func setVirtualFunctions(
        _ address: PCIAddress, to count: Int, consent: Set<Consent>, dryRun: Bool, progress: @escaping ProgressReport
    ) async throws(PassthroughError) -> Plan

    /// Makes the devices what `names` asks of them, which are the host's names from then on. With `dryRun`, only finds out
    /// what that would take. A device that is refused or fails keeps no other from what it is to be.
    func apply(
        _ names: NamedDevices, dryRun: Bool, progress: @escaping ProgressReport
    ) async -> [AppliedProvision]

    /// Takes up the devices that were claimed at boot, and says which were missed.
    func adoptClaimed() async

    /// Resets a bound device by `method`, or the first that it has, and sees whether it comes back whole. With `dryRun`,
    /// only returns the plan.
    func reset(
        _ address: PCIAddress, method: String?, consent: Set<Consent>, dryRun: Bool, progress: @escaping ProgressReport
    ) async throws(PassthroughError) -> Plan

    /// Takes a device out of quarantine.
    func release(_ address: PCIAddress) async throws(PassthroughError)

    /// Raises every asked-for interrupt of a bound device into a self-test guest.
    func selfTest(
        _ address: PCIAddress, _ request: SelfTestRequest, progress: @escaping ProgressReport
    ) async throws(PassthroughError) -> [SelfTestReport]

    /// Gives a bound device to an owner. With `dryRun`, only returns the plan.
    func attach(
        _ address: PCIAddress, to owner: LeaseOwner, _ mode: LeaseMode, consent: Set<Consent>, dryRun: Bool
    ) async throws(PassthroughError) -> (lease: Lease?, plan: Plan)

    /// Ends that. A session that uses the device is ended first. With `dryRun`, only returns the plan.
    func detach(
        _ address: PCIAddress, dryRun: Bool, progress: @escaping ProgressReport
    ) async throws(PassthroughError) -> Plan

    /// Every lease, in the order of IOMMU groups.
    func leases() async -> [Lease]

    /// From now on sessions begin where `endpoints` lets them, those of leases that there are already too.
    func serveLeases(through endpoints: any LeaseEndpoints) async

    /// Opens a leased device for a session of `peer`. `ended` is called once the session is over, however it ended.
    func beginSession(
        _ address: PCIAddress, for peer: SessionPeer, ended: @escaping @Sendable () -> Void
    ) async throws(LeaseError) -> any DeviceSession

    /// Ends the session of a device, if there is one, and returns when it is over.
    func endSession(_ address: PCIAddress, _ reason: SessionEndReason) async

    /// Ends all sessions.
    func endSessions() async

    /// The interrupt source groups of a device.
    func interrupts(_ address: PCIAddress) async throws(PassthroughError) -> [InterruptGroupState]
}

/// An operation that can be planned without doing it, by its name on the wire.
public enum PlannedOperation: String, Sendable, CaseIterable {
    /// Bind.
    case bind
    /// Restore.
    case restore
    /// Reset, by the first method that the device has.
    case reset
    /// Attach, to an owner that is not named.
    case attach
}

/// Takes one line of progress.
public typealias ProgressReport = @Sendable (String) -> Void

/// Whether a device can be taken, is taken, or is being worked on.
public enum DeviceState: String, Sendable {
    /// Not bound to VFIO.
    case available
    /// Bound to VFIO by vfiod.
    case bound
    /// Bound to VFIO by vfiod, and to be used for nothing: it did not come out whole of a reset.
    case quarantined
    /// An operation is running.
    case busy
    /// Bound to VFIO by somebody else.
    case foreign
    /// Removed from the host while vfiod had it bound or worked on it. It stays in the list until it comes back.
    case gone
}

/// How many vectors a device has of each type.
public struct InterruptCounts: Hashable, Sendable {
    /// 1 if the device has an INTx pin, else 0.
    public var legacy: Int
    /// 0, or a power of two up to 32.
    public var msi: Int
    /// 0 to 2,048.
    public var msix: Int

    /// Creates counts.
    public init(legacy: Int, msi: Int, msix: Int) {
        (self.legacy, self.msi, self.msix) = (legacy, msi, msix)
    }
}

/// One line of the list of devices.
public struct DeviceSummary: Hashable, Sendable {
    /// Where it sits.
    public var address: PCIAddress
    /// Vendor and device name from pci.ids.
    public var name: String
    /// What the configuration calls it: the first name all of whose parts agree with it.
    public var configuredName: String?
    /// Class name from pci.ids.
    public var className: String
    /// The PCI vendor id.
    public var vendorID: UInt16
    /// The PCI device id.
    public var deviceID: UInt16
    /// Base class, subclass and programming interface, 24 bits.
    public var classCode: UInt32
    /// The driver it is bound to, nil if none.
    public var driver: String?
    /// The number of its IOMMU group, nil without an IOMMU.
    public var iommuGroup: Int?
    /// Vectors by type.
    public var interrupts: InterruptCounts
    /// What can be done with it.
    public var state: DeviceState

    /// Creates a summary.
    public init(
        address: PCIAddress, name: String, configuredName: String? = nil, className: String, vendorID: UInt16,
        deviceID: UInt16, classCode: UInt32, driver: String?, iommuGroup: Int?, interrupts: InterruptCounts,
        state: DeviceState
    ) {
        self.address = address
        self.name = name
        self.configuredName = configuredName
        self.className = className
        self.vendorID = vendorID
        self.deviceID = deviceID
        self.classCode = classCode
        self.driver = driver
        self.iommuGroup = iommuGroup
        self.interrupts = interrupts
        self.state = state
    }
}

/// An operation that runs, and where it is.
public struct OperationState: Hashable, Sendable {
    /// bind, restore, virtual-functions, reset, release, selftest, attach, detach or close.
    public var name: String
    /// The step it is at.
    public var step: String
    /// When that step began, seconds since the epoch.
    public var since: Int
    /// What holds it up, where that is known.
    public var note: String?

    /// Creates a state.
    public init(name: String, step: String, since: Int, note: String?) {
        self.name = name
        self.step = step
        self.since = since
        self.note = note
    }
}
