/// Whom a lease belongs to.
public struct LeaseOwner: Hashable, Sendable, Codable, CustomStringConvertible {
    /// The user id.
    public let user: UInt32
    /// The group id whose members may use the lease too; nil for the user alone.
    public let group: UInt32?

    /// Creates an owner.
    public init(user: UInt32, group: UInt32? = nil) {
        (self.user, self.group) = (user, group)
    }

    /// For example `user 1000 and group 36`.
    public var description: String { "user \(user)" + (group.map { " and group \($0)" } ?? "") }
}

/// The form in which a lease's owner uses its devices.
public enum LeaseMode: String, Sendable, Codable, CaseIterable {
    /// The owner asks for what it needs over the lease's socket (io.vfiod.lease), and gets it as descriptors.
    case descriptors
    /// A VMM drives the device over the lease's socket by the vfio-user protocol.
    case vfioUser = "vfio-user"
}

/// To whom a device is given, as its record says: until Detach, over restarts of vfiod.
struct LeaseTerms: Hashable, Sendable, Codable {
    let owner: LeaseOwner
    let mode: LeaseMode
}
