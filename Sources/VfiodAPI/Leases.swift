public import Varlink

extension Wire {
    /// The process of a session.
    public struct SessionPeer: Codable, Hashable, Sendable {
        /// The process.
        public var processId: Int
        /// Its user.
        public var uid: Int
        /// Its group.
        public var gid: Int

        /// Creates a value.
        public init(processId: Int, uid: Int, gid: Int) {
            (self.processId, self.uid, self.gid) = (processId, uid, gid)
        }
    }

    /// A device of a lease.
    public struct LeasedDevice: Codable, Hashable, Sendable {
        /// Its address.
        public var device: String
        /// Where its sessions begin.
        public var socket: String
        /// idle, in-use, ending, held or failed.
        public var state: String
        /// Who uses it.
        public var session: SessionPeer?
        /// Who has it open without a session.
        public var holders: [Holder]
        /// What went wrong.
        public var failure: String?

        /// Creates a value.
        public init(
            device: String, socket: String, state: String, session: SessionPeer?, holders: [Holder], failure: String?
        ) {
            (self.device, self.socket, self.state) = (device, socket, state)
            (self.session, self.holders, self.failure) = (session, holders, failure)
        }
    }

    /// The devices that are given to one owner.
    public struct Lease: Codable, Hashable, Sendable {
        /// Their IOMMU group.
        public var iommuGroup: Int
        /// The owner's user.
        public var uid: Int
        /// The owner's group.
        public var gid: Int?
        /// How the devices are used.
        public var mode: String
        /// Whether a VMM may map their registers.
        public var mapsBars: Bool
        /// In the order of addresses.
        public var devices: [LeasedDevice]
        /// Ranges of memory that the devices see.
        public var mappings: Int
        /// How much that is.
        public var mappedBytes: Int

        /// Creates a value.
        public init(
            iommuGroup: Int, uid: Int, gid: Int?, mode: String, mapsBars: Bool, devices: [LeasedDevice],
            mappings: Int, mappedBytes: Int
        ) {
            (self.iommuGroup, self.uid, self.gid, self.mode) = (iommuGroup, uid, gid, mode)
            self.mapsBars = mapsBars
            (self.devices, self.mappings, self.mappedBytes) = (devices, mappings, mappedBytes)
        }
    }
}

/// Gives a device to an owner.
public enum Attach: VfiodMethod {
    /// The name without the interface.
    public static let name = "Attach"

    /// What a call carries.
    public struct Parameters: VarlinkParameters, Hashable {
        /// The names of all fields.
        public static let fields = ["device", "uid", "gid", "mode", "consent", "dryRun"]
        /// Such as `0000:00:10.0`.
        public var device: String
        /// The owner's user.
        public var uid: Int
        /// The owner's group.
        public var gid: Int?
        /// How it is to be used.
        public var mode: String?
        /// Blockers that may be overridden.
        public var consent: [String]?
        /// Only return the plan.
        public var dryRun: Bool?

        /// Creates a value.
        public init(device: String, uid: Int, gid: Int?, mode: String?, consent: [String]?, dryRun: Bool?) {
            (self.device, self.uid, self.gid, self.mode) = (device, uid, gid, mode)
            (self.consent, self.dryRun) = (consent, dryRun)
        }
    }

    /// What a reply carries.
    public struct Reply: Codable, Hashable, Sendable {
        /// The device's address.
        public var device: String
        /// The lease that the device belongs to.
        public var lease: Wire.Lease?
        /// What is done.
        public var plan: Wire.Plan?

        /// Creates a value.
        public init(device: String, lease: Wire.Lease?, plan: Wire.Plan?) {
            (self.device, self.lease, self.plan) = (device, lease, plan)
        }
    }
}

/// Takes a device back from its owner.
public enum Detach: VfiodMethod {
    /// The name without the interface.
    public static let name = "Detach"

    /// As those of Restore.
    public typealias Parameters = Restore.Parameters

    /// As that of Restore.
    public typealias Reply = Restore.Reply
}

/// Every lease.
public enum Leases: VfiodMethod {
    /// The name without the interface.
    public static let name = "Leases"

    /// None.
    public typealias Parameters = NoParameters

    /// What a reply carries.
    public struct Reply: Codable, Hashable, Sendable {
        /// In the order of IOMMU groups.
        public var leases: [Wire.Lease]

        /// Creates a value.
        public init(leases: [Wire.Lease]) {
            self.leases = leases
        }
    }
}
