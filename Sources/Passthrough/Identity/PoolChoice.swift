public import PCI

/// Which device of a pool was chosen.
public struct PoolChoice: Sendable {
    /// The device.
    public let device: PCIAddress
    /// What is done to bind it.
    public let plan: Plan

    /// Creates a choice.
    public init(device: PCIAddress, plan: Plan) { (self.device, self.plan) = (device, plan) }
}

/// Why a member of a pool was not chosen.
public struct PassedOver: Error, Hashable {
    /// Its address, or as the configuration names it where that leads to none.
    public let member: String
    /// The reason.
    public let reason: String

    /// Creates a member with its reason.
    public init(_ member: String, reason: String) { (self.member, self.reason) = (member, reason) }
}
