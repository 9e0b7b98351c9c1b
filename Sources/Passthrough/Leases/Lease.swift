public import PCI

/// The devices of one IOMMU group that are given to one owner, in one form, until Detach.
public struct Lease: Hashable, Sendable {
    /// Its IOMMU group.
    public let iommuGroup: Int
    /// Whom it belongs to.
    public let owner: LeaseOwner
    /// The form in which they are used.
    public let mode: LeaseMode
    /// Whether its VMM may map registers, and so has the device's descriptor.
    public let mapsBARs: Bool
    /// Its devices, in the order of addresses.
    public var devices: [LeasedDevice]
    /// How many ranges of addresses the devices have memory at.
    public var mappings: Int
    /// How much memory that is.
    public var mappedBytes: UInt64

    /// Creates a lease.
    public init(
        iommuGroup: Int, owner: LeaseOwner, mode: LeaseMode, mapsBARs: Bool = false, devices: [LeasedDevice],
        mappings: Int = 0, mappedBytes: UInt64 = 0
    ) {
        (self.iommuGroup, self.owner, self.mode, self.mapsBARs) = (iommuGroup, owner, mode, mapsBARs)
        (self.devices, self.mappings, self.mappedBytes) = (devices, mappings, mappedBytes)
    }
}

/// One device of a lease.
public struct LeasedDevice: Hashable, Sendable {
    /// What may be done with it.
    public enum State: String, Sendable, CaseIterable {
        /// No session: one may begin.
        case idle
        /// A session uses it.
        case inUse = "in-use"
        /// A session of it is being ended.
        case ending
        /// No session, but somebody has the device open: none may begin.
        case held
        /// A session of it, or a reset, did not end well: none may begin before Release.
        case quarantined
        /// It did not open in time: no session may begin before Detach.
        case failed
    }

    /// Where it sits.
    public let address: PCIAddress
    /// The socket on which its sessions begin.
    public let socketPath: String
    /// What may be done with it.
    public var state: State
    /// Who uses it.
    public var session: SessionPeer?
    /// Who has it open without a session.
    public var holders: [Holder]
    /// What went wrong, where it failed or is quarantined.
    public var failure: String?

    /// Creates a device.
    public init(
        address: PCIAddress, socketPath: String, state: State, session: SessionPeer? = nil, holders: [Holder] = [],
        failure: String? = nil
    ) {
        (self.address, self.socketPath, self.state) = (address, socketPath, state)
        (self.session, self.holders, self.failure) = (session, holders, failure)
    }
}

/// The process that a session belongs to, as the kernel recorded it when it connected.
public struct SessionPeer: Hashable, Sendable, CustomStringConvertible {
    /// The process.
    public let processID: Int
    /// Its user.
    public let user: UInt32
    /// Its group.
    public let group: UInt32

    /// Creates a peer.
    public init(processID: Int, user: UInt32, group: UInt32) {
        (self.processID, self.user, self.group) = (processID, user, group)
    }

    /// For example `user 1000 (group 1000, process 77)`.
    public var description: String { "user \(user) (group \(group), process \(processID))" }
}
