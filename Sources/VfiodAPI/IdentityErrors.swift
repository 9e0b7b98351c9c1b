// The errors about which device is meant.
extension Wire {
    /// The device that is meant differs in one part.
    public struct IdentityMismatch: VfiodError, Hashable {
        /// The name without the interface.
        public static let name = "IdentityMismatch"
        /// As the caller named it.
        public var device: String
        /// Where it is.
        public var address: String
        /// The part.
        public var part: String
        /// What it should be.
        public var expected: String
        /// What it is.
        public var found: String

        /// Creates a value.
        public init(device: String, address: String, part: String, expected: String, found: String) {
            self.device = device
            self.address = address
            self.part = part
            self.expected = expected
            self.found = found
        }
    }

    /// Which device is meant cannot be said yet.
    public struct IdentityUnknown: VfiodError, Hashable {
        /// The name without the interface.
        public static let name = "IdentityUnknown"
        /// As the caller named it.
        public var device: String
        /// The part that is not known.
        public var part: String
        /// The addresses of those that may be meant.
        public var candidates: [String]

        /// Creates a value.
        public init(device: String, part: String, candidates: [String]) {
            self.device = device
            self.part = part
            self.candidates = candidates
        }
    }

    /// Several devices may be meant.
    public struct AmbiguousDevice: VfiodError, Hashable {
        /// The name without the interface.
        public static let name = "AmbiguousDevice"
        /// As the caller named it.
        public var device: String
        /// Their addresses.
        public var candidates: [String]

        /// Creates a value.
        public init(device: String, candidates: [String]) {
            self.device = device
            self.candidates = candidates
        }
    }

    /// The name is that of a pool.
    public struct DeviceIsPool: VfiodError, Hashable {
        /// The name without the interface.
        public static let name = "DeviceIsPool"
        /// As the caller named it.
        public var device: String
        /// As the configuration names them.
        public var members: [String]

        /// Creates a value.
        public init(device: String, members: [String]) {
            self.device = device
            self.members = members
        }
    }

    /// No device of a pool is free.
    public struct PoolExhausted: VfiodError, Hashable {
        /// The name without the interface.
        public static let name = "PoolExhausted"
        /// The pool.
        public var device: String
        /// All of them.
        public var members: [PoolMember]

        /// Creates a value.
        public init(device: String, members: [PoolMember]) {
            self.device = device
            self.members = members
        }
    }

    /// A device of a pool that was not chosen.
    public struct PoolMember: Codable, Hashable, Sendable {
        /// Its address, or how the configuration names it.
        public var member: String
        /// Why it was not chosen.
        public var reason: String

        /// Creates a value.
        public init(member: String, reason: String) {
            self.member = member
            self.reason = reason
        }
    }
}
