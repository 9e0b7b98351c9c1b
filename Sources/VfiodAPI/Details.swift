extension Wire {
    /// All there is to know about one device.
    public struct Details: Codable, Hashable, Sendable {
        /// The list's line.
        public var device: Device
        /// Four hex digits.
        public var subsystemVendorId: String
        /// Four hex digits.
        public var subsystemDeviceId: String
        /// Two hex digits.
        public var revision: String
        /// The Device Serial Number.
        public var serialNumber: String?
        /// The physical slot.
        public var slot: String?
        /// The functions on the way from the root bus.
        public var path: [String]
        /// The NUMA node.
        public var numaNode: Int?
        /// The content of driver_override.
        public var driverOverride: String?
        /// The methods by which it can be reset, in the order in which the kernel tries them.
        public var resetMethods: [String]
        /// power/control.
        public var powerControl: String?
        /// power_state.
        public var powerState: String?
        /// The PCI Express link.
        public var link: Link?
        /// The command register.
        public var command: Command?
        /// BARs and ROM.
        public var regions: [Region]
        /// In the order of their lists.
        public var capabilities: [Capability]
        /// How many virtual functions it has.
        public var virtualFunctions: Int?
        /// sriov_totalvfs.
        public var totalVirtualFunctions: Int?
        /// Its virtual functions.
        public var virtualFunctionAddresses: [String]
        /// Whose virtual function it is.
        public var physicalFunction: String?
        /// Itself included.
        public var iommuGroupMembers: [IOMMUGroupMember]
        /// Of its IOMMU group.
        public var reservedRegions: [ReservedRegion]
        /// Who has it open.
        public var holders: [Holder]
        /// What the host itself uses it for.
        public var hostUses: [Blocker]
        /// What did not come in time.
        public var unread: [String]
        /// What Bind would meet now.
        public var bindPlan: Plan
        /// What came to stand against its use since it was bound.
        public var drift: [Blocker]
        /// Why it is quarantined.
        public var quarantine: String?
        /// What to know before it is given to an owner.
        public var notes: [Blocker]
        /// What Restore puts back.
        public var recorded: [String: String]?
        /// What runs on it.
        public var operation: Operation?

        /// Creates a value.
        public init(
            device: Device, subsystemVendorId: String, subsystemDeviceId: String, revision: String,
            serialNumber: String?, slot: String?, path: [String], numaNode: Int?, driverOverride: String?,
            resetMethods: [String], powerControl: String?, powerState: String?, link: Link?, command: Command?,
            regions: [Region], capabilities: [Capability], virtualFunctions: Int?, totalVirtualFunctions: Int?,
            virtualFunctionAddresses: [String], physicalFunction: String?, iommuGroupMembers: [IOMMUGroupMember],
            reservedRegions: [ReservedRegion], holders: [Holder], hostUses: [Blocker], unread: [String], bindPlan: Plan,
            drift: [Blocker], quarantine: String?, notes: [Blocker], recorded: [String: String]?, operation: Operation?
        ) {
            self.device = device
            self.subsystemVendorId = subsystemVendorId
            self.subsystemDeviceId = subsystemDeviceId
            self.revision = revision
            self.serialNumber = serialNumber
            self.slot = slot
            self.path = path
            self.numaNode = numaNode
            self.driverOverride = driverOverride
            self.resetMethods = resetMethods
            self.powerControl = powerControl
            self.powerState = powerState
            self.link = link
            self.command = command
            self.regions = regions
            self.capabilities = capabilities
            self.virtualFunctions = virtualFunctions
            self.totalVirtualFunctions = totalVirtualFunctions
            self.virtualFunctionAddresses = virtualFunctionAddresses
            self.physicalFunction = physicalFunction
            self.iommuGroupMembers = iommuGroupMembers
            self.reservedRegions = reservedRegions
            self.holders = holders
            self.hostUses = hostUses
            self.unread = unread
            self.bindPlan = bindPlan
            self.drift = drift
            self.quarantine = quarantine
            self.notes = notes
            self.recorded = recorded
            self.operation = operation
        }
    }
}
