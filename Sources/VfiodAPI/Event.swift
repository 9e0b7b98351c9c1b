extension Wire {
    /// What Monitor tells of a device.
    public struct Event: Codable, Hashable, Sendable {
        /// What happened, or that this is how a device is.
        public var kind: String
        /// The device's address.
        public var address: String?
        /// The device after the event.
        public var device: Device?
        /// How many virtual functions it has.
        public var virtualFunctions: Int?
        /// The operation that runs on it or has just ended.
        public var operation: Operation?
        /// Why the operation failed.
        public var failure: String?
        /// What came to stand, or no longer stands, against its use.
        public var drift: [Blocker]?

        /// Creates a value.
        public init(
            kind: String, address: String? = nil, device: Device? = nil, virtualFunctions: Int? = nil,
            operation: Operation? = nil, failure: String? = nil, drift: [Blocker]? = nil
        ) {
            self.kind = kind
            self.address = address
            self.device = device
            self.virtualFunctions = virtualFunctions
            self.operation = operation
            self.failure = failure
            self.drift = drift
        }
    }
}
