public import Varlink

/// Resets a device.
public enum Reset: VfiodMethod {
    /// The name without the interface.
    public static let name = "Reset"

    /// What a call carries.
    public struct Parameters: VarlinkParameters, Hashable {
        /// The names of all fields.
        public static let fields = ["device", "method", "consent", "dryRun"]
        /// Such as `0000:00:10.0`.
        public var device: String
        /// Such as `flr`.
        public var method: String?
        /// Blockers that may be overridden.
        public var consent: [String]?
        /// Only return the plan.
        public var dryRun: Bool?

        /// Creates a value.
        public init(device: String, method: String?, consent: [String]?, dryRun: Bool?) {
            self.device = device
            self.method = method
            self.consent = consent
            self.dryRun = dryRun
        }
    }

    /// What a reply carries.
    public struct Reply: Codable, Hashable, Sendable {
        /// What is done.
        public var plan: Wire.Plan?
        /// One line for people.
        public var progress: String?

        /// Creates a value.
        public init(plan: Wire.Plan?, progress: String?) {
            self.plan = plan
            self.progress = progress
        }
    }
}

/// Takes a device out of quarantine.
public enum Release: VfiodMethod {
    /// The name without the interface.
    public static let name = "Release"

    /// What a call carries.
    public struct Parameters: VarlinkParameters, Hashable {
        /// The names of all fields.
        public static let fields = ["device"]
        /// Such as `0000:00:10.0`.
        public var device: String

        /// Creates a value.
        public init(device: String) {
            self.device = device
        }
    }

    /// Nothing.
    public struct Reply: Codable, Hashable, Sendable {
        /// Creates a value.
        public init() {}
    }
}
