public import Varlink

/// What an operation would do, and what stands against it.
public enum PlanOperation: VfiodMethod {
    /// The name without the interface.
    public static let name = "Plan"

    /// What a call carries.
    public struct Parameters: VarlinkParameters, Hashable {
        /// The names of all fields.
        public static let fields = ["operation", "device", "consent"]
        /// bind, restore, reset or attach.
        public var operation: String
        /// Its address, its name, or what it is.
        public var device: String
        /// Blockers that may be overridden.
        public var consent: [String]?

        /// Creates a value.
        public init(operation: String, device: String, consent: [String]?) {
            self.operation = operation
            self.device = device
            self.consent = consent
        }
    }

    /// What a reply carries.
    public struct Reply: Codable, Hashable, Sendable {
        /// The address of the device.
        public var device: String
        /// What would be done, with all that stands against it.
        public var plan: Wire.Plan
        /// Those blockers that consent does not override.
        public var refusedBy: [Wire.Blocker]

        /// Creates a value.
        public init(device: String, plan: Wire.Plan, refusedBy: [Wire.Blocker]) {
            self.device = device
            self.plan = plan
            self.refusedBy = refusedBy
        }
    }
}
