public import Varlink

/// Gives a physical function of SR-IOV virtual functions.
public enum SetVirtualFunctions: VfiodMethod {
    /// The name without the interface.
    public static let name = "SetVirtualFunctions"

    /// What a call carries.
    public struct Parameters: VarlinkParameters, Hashable {
        /// The names of all fields.
        public static let fields = ["device", "count", "consent", "dryRun"]
        /// Such as `0000:01:00.0`.
        public var device: String
        /// How many it is to have.
        public var count: Int
        /// Blockers that may be overridden.
        public var consent: [String]?
        /// Only return the plan.
        public var dryRun: Bool?

        /// Creates a value.
        public init(device: String, count: Int, consent: [String]?, dryRun: Bool?) {
            self.device = device
            self.count = count
            self.consent = consent
            self.dryRun = dryRun
        }
    }

    /// What a reply carries.
    public typealias Reply = Restore.Reply
}
