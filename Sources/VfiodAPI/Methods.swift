public import Varlink

/// Every PCI function of the host.
public enum List: VfiodMethod {
    /// The name without the interface.
    public static let name = "List"

    /// None.
    public typealias Parameters = NoParameters

    /// What a reply carries.
    public struct Reply: Codable, Hashable, Sendable {
        /// In the order of addresses.
        public var devices: [Wire.Device]

        /// Creates a value.
        public init(devices: [Wire.Device]) {
            self.devices = devices
        }
    }
}

/// All there is to know about one device.
public enum Describe: VfiodMethod {
    /// The name without the interface.
    public static let name = "Describe"

    /// What a call carries.
    public struct Parameters: VarlinkParameters, Hashable {
        /// The names of all fields.
        public static let fields = ["device"]
        /// Its address, its name, or what it is.
        public var device: String

        /// Creates a value.
        public init(device: String) {
            self.device = device
        }
    }

    /// What a reply carries.
    public struct Reply: Codable, Hashable, Sendable {
        /// All of it.
        public var details: Wire.Details

        /// Creates a value.
        public init(details: Wire.Details) {
            self.details = details
        }
    }
}

/// Binds a device to vfio-pci.
public enum Bind: VfiodMethod {
    /// The name without the interface.
    public static let name = "Bind"

    /// What a call carries.
    public struct Parameters: VarlinkParameters, Hashable {
        /// The names of all fields.
        public static let fields = ["device", "consent", "dryRun"]
        /// Its address, its name, or what it is.
        public var device: String
        /// Blockers that may be overridden.
        public var consent: [String]?
        /// Only return the plan.
        public var dryRun: Bool?

        /// Creates a value.
        public init(device: String, consent: [String]?, dryRun: Bool?) {
            self.device = device
            self.consent = consent
            self.dryRun = dryRun
        }
    }

    /// What a reply carries.
    public struct Reply: Codable, Hashable, Sendable {
        /// The address of the device.
        public var device: String?
        /// What is done.
        public var plan: Wire.Plan?
        /// One line for people.
        public var progress: String?

        /// Creates a value.
        public init(device: String?, plan: Wire.Plan?, progress: String?) {
            self.device = device
            self.plan = plan
            self.progress = progress
        }
    }
}

/// Gives a device back.
public enum Restore: VfiodMethod {
    /// The name without the interface.
    public static let name = "Restore"

    /// What a call carries.
    public struct Parameters: VarlinkParameters, Hashable {
        /// The names of all fields.
        public static let fields = ["device", "dryRun"]
        /// Its address, its name, or what it is.
        public var device: String
        /// Only return the plan.
        public var dryRun: Bool?

        /// Creates a value.
        public init(device: String, dryRun: Bool?) {
            self.device = device
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

/// Raises every interrupt of a device into a guest.
public enum SelfTest: VfiodMethod {
    /// The name without the interface.
    public static let name = "SelfTest"

    /// What a call carries.
    public struct Parameters: VarlinkParameters, Hashable {
        /// The names of all fields.
        public static let fields = ["device", "type", "vectors", "count", "fault"]
        /// Its address, its name, or what it is.
        public var device: String
        /// intx, msi, msix or all.
        public var type: String?
        /// How many of each type.
        public var vectors: Int?
        /// Raises per vector.
        public var count: Int?
        /// How to break the relay on purpose.
        public var fault: String?

        /// Creates a value.
        public init(device: String, type: String?, vectors: Int?, count: Int?, fault: String?) {
            self.device = device
            self.type = type
            self.vectors = vectors
            self.count = count
            self.fault = fault
        }
    }

    /// What a reply carries.
    public struct Reply: Codable, Hashable, Sendable {
        /// One per type and way of raising.
        public var reports: [Wire.SelfTestReport]?
        /// Whether nothing was lost or spurious.
        public var passed: Bool?
        /// One line for people.
        public var progress: String?

        /// Creates a value.
        public init(reports: [Wire.SelfTestReport]?, passed: Bool?, progress: String?) {
            self.reports = reports
            self.passed = passed
            self.progress = progress
        }
    }
}

/// The interrupt source groups of a device.
public enum Interrupts: VfiodMethod {
    /// The name without the interface.
    public static let name = "Interrupts"

    /// What a call carries.
    public struct Parameters: VarlinkParameters, Hashable {
        /// The names of all fields.
        public static let fields = ["device"]
        /// Its address, its name, or what it is.
        public var device: String

        /// Creates a value.
        public init(device: String) {
            self.device = device
        }
    }

    /// What a reply carries.
    public struct Reply: Codable, Hashable, Sendable {
        /// One per type.
        public var groups: [Wire.InterruptGroup]

        /// Creates a value.
        public init(groups: [Wire.InterruptGroup]) {
            self.groups = groups
        }
    }
}
