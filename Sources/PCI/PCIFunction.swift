/// What a PCI function is: its ids, as its configuration space header gives them (PCI 3.0 section 6.2.1).
public struct PCIFunction: Hashable, Sendable {
    /// Where it sits.
    public let address: PCIAddress
    /// The vendor id.
    public let vendorID: UInt16
    /// The device id.
    public let deviceID: UInt16
    /// Base class, subclass and programming interface, 24 bits.
    public let classCode: UInt32
    /// The revision id.
    public let revision: UInt8
    /// The subsystem's vendor id.
    public let subsystemVendorID: UInt16
    /// The subsystem's device id.
    public let subsystemDeviceID: UInt16

    /// Creates an identity.
    public init(
        address: PCIAddress, vendorID: UInt16, deviceID: UInt16, classCode: UInt32, revision: UInt8,
        subsystemVendorID: UInt16, subsystemDeviceID: UInt16
    ) {
        self.address = address
        self.vendorID = vendorID
        self.deviceID = deviceID
        self.classCode = classCode
        self.revision = revision
        self.subsystemVendorID = subsystemVendorID
        self.subsystemDeviceID = subsystemDeviceID
    }
}
