public import PCI

/// The devices and pools that the configuration gives names to.
public struct NamedDevices: Hashable, Sendable {
    /// A device with a name.
    public struct Device: Hashable, Sendable {
        /// Its name.
        public let name: String
        /// What tells it.
        public let identity: DeviceIdentity
        /// What is to become of it.
        public let provision: Provision

        /// Names a device.
        public init(name: String, identity: DeviceIdentity, provision: Provision = Provision()) {
            (self.name, self.identity, self.provision) = (name, identity, provision)
        }
    }

    /// Devices of which any will do.
    public struct Pool: Hashable, Sendable {
        /// Its name.
        public let name: String
        /// Those to choose from, in order: addresses, names of devices, or identities, which stand for all that they tell.
        public let members: [DeviceSelector]

        /// Names a pool.
        public init(name: String, members: [DeviceSelector]) { (self.name, self.members) = (name, members) }
    }

    /// In the order of the configuration.
    public var devices: [Device]
    /// In the order of the configuration.
    public var pools: [Pool]

    /// Creates a set of names. None may stand twice, and the pools' members may name its devices only.
    public init(devices: [Device] = [], pools: [Pool] = []) { (self.devices, self.pools) = (devices, pools) }

    /// The device of that name.
    public func device(_ name: String) -> Device? { devices.first { $0.name == name } }

    /// The pool of that name.
    public func pool(_ name: String) -> Pool? { pools.first { $0.name == name } }
}
