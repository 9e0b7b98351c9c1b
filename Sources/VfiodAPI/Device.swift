extension Wire {
    /// One PCI function.
    public struct Device: Codable, Hashable, Sendable {
        /// Such as `0000:00:10.0`.
        public var address: String
        /// Vendor and device name from pci.ids.
        public var name: String
        /// Class name from pci.ids.
        public var className: String
        /// Four lower-case hex digits.
        public var vendorId: String
        /// Four lower-case hex digits.
        public var deviceId: String
        /// Six lower-case hex digits.
        public var classCode: String
        /// The driver it is bound to.
        public var driver: String?
        /// The number of its IOMMU group.
        public var iommuGroup: Int?
        /// 1 if it has INTx.
        public var intx: Int
        /// MSI vectors.
        public var msi: Int
        /// MSI-X vectors.
        public var msix: Int
        /// available, bound, busy or foreign.
        public var state: String

        /// Creates a value.
        public init(
            address: String, name: String, className: String, vendorId: String, deviceId: String, classCode: String,
            driver: String?, iommuGroup: Int?, intx: Int, msi: Int, msix: Int, state: String
        ) {
            self.address = address
            self.name = name
            self.className = className
            self.vendorId = vendorId
            self.deviceId = deviceId
            self.classCode = classCode
            self.driver = driver
            self.iommuGroup = iommuGroup
            self.intx = intx
            self.msi = msi
            self.msix = msix
            self.state = state
        }
    }

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
        /// The NUMA node.
        public var numaNode: Int?
        /// The content of driver_override.
        public var driverOverride: String?
        /// The reset methods in the order the kernel tries them.
        public var resetMethods: [String]
        /// power/control.
        public var powerControl: String?
        /// sriov_numvfs.
        public var virtualFunctions: Int?
        /// sriov_totalvfs.
        public var totalVirtualFunctions: Int?
        /// Itself included.
        public var iommuGroupMembers: [IOMMUGroupMember]
        /// What Bind would meet now.
        public var bindPlan: Plan
        /// What Restore puts back.
        public var recorded: [String: String]?
        /// What runs on it.
        public var operation: Operation?

        /// Creates a value.
        public init(
            device: Device, subsystemVendorId: String, subsystemDeviceId: String, revision: String, numaNode: Int?,
            driverOverride: String?, resetMethods: [String], powerControl: String?, virtualFunctions: Int?,
            totalVirtualFunctions: Int?, iommuGroupMembers: [IOMMUGroupMember], bindPlan: Plan,
            recorded: [String: String]?, operation: Operation?
        ) {
            self.device = device
            self.subsystemVendorId = subsystemVendorId
            self.subsystemDeviceId = subsystemDeviceId
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
    public struct IOMMUGroupMember: Codable, Hashable, Sendable {
        /// Where it sits.
        public var address: String
        /// The driver it is bound to.
        public var driver: String?

        /// Creates a value.
        public init(address: String, driver: String?) {
            self.address = address
            self.driver = driver
        }
    }

    /// An operation that runs.
    public struct Operation: Codable, Hashable, Sendable {
        /// bind, restore or selftest.
        public var name: String
        /// The step it is at.
        public var step: String
        /// When that step began, seconds since the epoch.
        public var since: Int
        /// What holds it up.
        public var note: String?

        /// Creates a value.
        public init(name: String, step: String, since: Int, note: String?) {
            self.name = name
            self.step = step
            self.since = since
            self.note = note
        }
    }
}
