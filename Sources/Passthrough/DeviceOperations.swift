public import PCI

/// What the passthrough host can be asked to do. The daemon's request handlers speak to this and to nothing below it.
///
/// Progress lines are for people. They come from any thread, in order, and before the call returns.
public protocol DeviceOperations: Sendable {
    /// Every PCI function of the host, in the order of addresses.
    func list() async throws(PassthroughError) -> [DeviceSummary]

    /// All there is to know about one device.
    func describe(_ address: PCIAddress) async throws(PassthroughError) -> DeviceDetails

    /// Binds to vfio-pci. With `dryRun`, only returns the plan: no blocker makes that an error.
    func bind(
        _ address: PCIAddress, consent: Set<BlockerCode>, dryRun: Bool, progress: @escaping ProgressReport
    ) async throws(PassthroughError) -> Plan

    /// Gives back. With `dryRun`, only returns the plan.
    func restore(
        _ address: PCIAddress, dryRun: Bool, progress: @escaping ProgressReport
    ) async throws(PassthroughError) -> Plan

    /// Raises every asked-for interrupt of a bound device into a self-test guest.
    func selfTest(
        _ address: PCIAddress, _ request: SelfTestRequest, progress: @escaping ProgressReport
    ) async throws(PassthroughError) -> [SelfTestReport]

    /// The interrupt source groups of a device.
    func interrupts(_ address: PCIAddress) async throws(PassthroughError) -> [InterruptGroupState]
}

/// Takes one line of progress.
public typealias ProgressReport = @Sendable (String) -> Void

/// Whether a device can be taken, is taken, or is being worked on.
public enum DeviceState: String, Sendable {
    /// Not bound to VFIO.
    case available
    /// Bound to VFIO by vfiod.
    case bound
    /// An operation is running.
    case busy
    /// Bound to VFIO by somebody else.
    case foreign
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
        address: PCIAddress, name: String, className: String, vendorID: UInt16, deviceID: UInt16, classCode: UInt32,
        driver: String?, iommuGroup: Int?, interrupts: InterruptCounts, state: DeviceState
    ) {
        self.address = address
        self.name = name
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

/// All there is to know about one device.
public struct DeviceDetails: Sendable {
    /// The list's line.
    public var summary: DeviceSummary
    /// The subsystem's vendor id.
    public var subsystemVendorID: UInt16
    /// The subsystem's device id.
    public var subsystemDeviceID: UInt16
    /// The revision id.
    public var revision: UInt8
    /// The NUMA node, nil if the host does not say.
    public var numaNode: Int?
    /// The content of driver_override, nil if empty.
    public var driverOverride: String?
    /// The reset methods that the kernel would use, in order.
    public var resetMethods: [String]
    /// power/control.
    public var powerControl: String?
    /// sriov_numvfs, nil if it has none.
    public var virtualFunctions: Int?
    /// sriov_totalvfs.
    public var totalVirtualFunctions: Int?
    /// The members of its IOMMU group with their drivers, itself included.
    public var iommuGroupMembers: [IOMMUGroupMember]
    /// What a bind would meet now.
    public var bindPlan: Plan
    /// What was recorded when vfiod bound it, by attribute; nil if vfiod did not.
    public var recorded: [String: String]?
    /// The operation that runs on it.
    public var operation: OperationState?

    /// Creates details.
    public init(
        summary: DeviceSummary, subsystemVendorID: UInt16, subsystemDeviceID: UInt16, revision: UInt8, numaNode: Int?,
        driverOverride: String?, resetMethods: [String], powerControl: String?, virtualFunctions: Int?,
        totalVirtualFunctions: Int?, iommuGroupMembers: [IOMMUGroupMember], bindPlan: Plan,
        recorded: [String: String]?, operation: OperationState?
    ) {
        self.summary = summary
        self.subsystemVendorID = subsystemVendorID
        self.subsystemDeviceID = subsystemDeviceID
        self.revision = revision
        self.numaNode = numaNode
        self.driverOverride = driverOverride
        self.resetMethods = resetMethods
        self.powerControl = powerControl
        self.virtualFunctions = virtualFunctions
        self.totalVirtualFunctions = totalVirtualFunctions
        self.iommuGroupMembers = iommuGroupMembers
        self.bindPlan = bindPlan
        self.recorded = recorded
        self.operation = operation
    }
}

/// A function in an IOMMU group.
public struct IOMMUGroupMember: Hashable, Sendable {
    /// Where it sits.
    public var address: PCIAddress
    /// The driver it is bound to, nil if none.
    public var driver: String?

    /// Creates a member.
    public init(address: PCIAddress, driver: String?) {
        self.address = address
        self.driver = driver
    }
}

/// An operation that runs, and where it is.
public struct OperationState: Hashable, Sendable {
    /// bind, restore or selftest.
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
