public import Varlink

/// The devices as they are, and then every change.
public enum Monitor: VfiodMethod {
    /// The name without the interface.
    public static let name = "Monitor"

    /// None.
    public typealias Parameters = NoParameters

    /// What a reply carries.
    public struct Reply: Codable, Hashable, Sendable {
        /// One of them.
        public var event: Wire.Event

        /// Creates a value.
        public init(event: Wire.Event) {
            self.event = event
        }
    }
}
