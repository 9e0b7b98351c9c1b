public import Varlink

/// Makes the host match the configuration.
public enum Apply: VfiodMethod {
    /// The name without the interface.
    public static let name = "Apply"

    /// What a call carries.
    public struct Parameters: VarlinkParameters, Hashable {
        /// The names of all fields.
        public static let fields = ["dryRun"]
        /// Only find out what it would take.
        public var dryRun: Bool?

        /// Creates a value.
        public init(dryRun: Bool?) { self.dryRun = dryRun }
    }

    /// What a reply carries.
    public struct Reply: Codable, Hashable, Sendable {
        /// What became of each thing that is asked.
        public var results: [Wire.AppliedProvision]?
        /// The text that claims devices at the next boot.
        public var bootClaims: String?
        /// One line for people.
        public var progress: String?

        /// Creates a value.
        public init(results: [Wire.AppliedProvision]?, bootClaims: String?, progress: String?) {
            self.results = results
            self.bootClaims = bootClaims
            self.progress = progress
        }
    }
}

extension Wire {
    /// What became of one thing that the configuration asks of a device.
    public struct AppliedProvision: Codable, Hashable, Sendable {
        /// What the configuration calls the device.
        public var name: String
        /// Its address.
        public var device: String?
        /// What is asked.
        public var action: String
        /// What came of it.
        public var outcome: String
        /// What would be done.
        public var plan: Plan?
        /// The name of the error.
        public var error: String?
        /// The error in words.
        public var failure: String?
        /// What refused it.
        public var blockers: [Blocker]

        /// Creates a value.
        public init(
            name: String, device: String?, action: String, outcome: String, plan: Plan? = nil, error: String? = nil,
            failure: String? = nil, blockers: [Blocker] = []
        ) {
            self.name = name
            self.device = device
            self.action = action
            self.outcome = outcome
            self.plan = plan
            self.error = error
            self.failure = failure
            self.blockers = blockers
        }
    }

    /// The configuration cannot be used.
    public struct ConfigurationUnusable: VfiodError, Hashable {
        /// The name without the interface.
        public static let name = "ConfigurationUnusable"
        /// The file.
        public var path: String
        /// The line, from 1.
        public var line: Int?
        /// One sentence.
        public var reason: String

        /// Creates a value.
        public init(path: String, line: Int?, reason: String) {
            self.path = path
            self.line = line
            self.reason = reason
        }
    }
}
