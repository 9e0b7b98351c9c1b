extension Wire {
    /// One PCI function.
    public struct Device: Codable, Hashable, Sendable {
        /// Such as `0000:00:10.0`.
        public var address: String
        /// Vendor and device name from pci.ids.
        public var name: String
        /// What the configuration calls it.
        public var configuredName: String?
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
        /// available, bound, quarantined, busy, foreign or gone.
        public var state: String

        /// Creates a value.
        public init(
            address: String, name: String, configuredName: String? = nil, className: String, vendorId: String,
            deviceId: String, classCode: String, driver: String?, iommuGroup: Int?, intx: Int, msi: Int, msix: Int,
            state: String
        ) {
            self.address = address
            self.name = name
            self.configuredName = configuredName
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
}
