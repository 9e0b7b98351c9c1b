public import PCI

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
    /// What its configuration space says, nil as long as that has not answered.
    public var configuration: DeviceConfiguration?
    /// The physical slot it is in, nil if the host names none.
    public var slot: String?
    /// The functions on the way to it, from the one on a root bus to itself.
    public var route: [PCIAddress]
    /// The NUMA node, nil if the host does not say.
    public var numaNode: Int?
    /// Its BARs and its expansion ROM.
    public var regions: [PCIRegion]
    /// The methods by which it can be reset, in the order in which the kernel tries them.
    public var resetMethods: [String]
    /// How many virtual functions it could have, nil if it is no physical function.
    public var totalVirtualFunctions: Int?
    /// Its virtual functions, ascending.
    public var virtualFunctions: [PCIAddress]
    /// The physical function it belongs to, nil if it is no virtual function.
    public var physicalFunction: PCIAddress?
    /// The members of its IOMMU group with their drivers, itself included.
    public var iommuGroupMembers: [IOMMUGroupMember]
    /// What no DMA mapping of its IOMMU group may use.
    public var reservedRegions: [IOMMUReservedRegion]
    /// What changes without an event.
    public var live: LiveState
    /// Who has it open.
    public var holders: [Holder]
    /// What the host itself uses it for, as what that is to a bind.
    public var hostUses: [Blocker]
    /// What a bind would meet now.
    public var bindPlan: Plan
    /// What has come to stand against the use of a bound device since: members of its IOMMU group with a host driver.
    public var drift: [Blocker]
    /// Why it is quarantined, nil if it is not.
    public var quarantine: String?
    /// What to know before it is given to an owner: that it cannot be reset.
    public var notes: [Blocker]
    /// What was recorded when vfiod bound it, by attribute; nil if vfiod did not.
    public var recorded: [String: String]?
    /// The operation that runs on it.
    public var operation: OperationState?

    /// Creates details of a device of which nothing is known but what is given.
    public init(
        summary: DeviceSummary, subsystemVendorID: UInt16, subsystemDeviceID: UInt16, revision: UInt8,
        configuration: DeviceConfiguration? = nil, slot: String? = nil, route: [PCIAddress] = [], numaNode: Int? = nil,
        regions: [PCIRegion] = [], resetMethods: [String] = [], totalVirtualFunctions: Int? = nil,
        virtualFunctions: [PCIAddress] = [], physicalFunction: PCIAddress? = nil,
        iommuGroupMembers: [IOMMUGroupMember] = [], reservedRegions: [IOMMUReservedRegion] = [],
        live: LiveState = LiveState(), holders: [Holder] = [], hostUses: [Blocker] = [],
        bindPlan: Plan = Plan(steps: [], blockers: []), drift: [Blocker] = [], quarantine: String? = nil,
        notes: [Blocker] = [], recorded: [String: String]? = nil, operation: OperationState? = nil
    ) {
        self.summary = summary
        self.subsystemVendorID = subsystemVendorID
        self.subsystemDeviceID = subsystemDeviceID
        self.revision = revision
        self.configuration = configuration
        self.slot = slot
        self.route = route
        self.numaNode = numaNode
        self.regions = regions
        self.resetMethods = resetMethods
        self.totalVirtualFunctions = totalVirtualFunctions
        self.virtualFunctions = virtualFunctions
        self.physicalFunction = physicalFunction
        self.iommuGroupMembers = iommuGroupMembers
        self.reservedRegions = reservedRegions
        self.live = live
        self.holders = holders
        self.hostUses = hostUses
        self.bindPlan = bindPlan
        self.drift = drift
        self.quarantine = quarantine
        self.notes = notes
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
    /// The member with which vfiod bound it; nil if it was asked for by itself, or is not bound by vfiod.
    public var onBehalfOf: PCIAddress?

    /// Creates a member.
    public init(address: PCIAddress, driver: String?, onBehalfOf: PCIAddress? = nil) {
        self.address = address
        self.driver = driver
        self.onBehalfOf = onBehalfOf
    }
}
