/// What a vector of an interrupt source group is to be.
public struct InterruptConfiguration: Hashable, Sendable {
    /// The message that a guest expects. Nil for a legacy source, where a group has no sink and so no routes, and for
    /// masked vectors of an MSI-X table that have none yet.
    ///
    /// In an MSI block all vectors have the same pair; the group replaces the low bits of the data by the index.
    public var message: InterruptMessage?
    /// Whether the vector starts masked; nil leaves its mask as earlier calls made it.
    public var startsMasked: Bool?

    /// Creates a configuration.
    public init(message: InterruptMessage? = nil, startsMasked: Bool? = nil) {
        self.message = message
        self.startsMasked = startsMasked
    }
}

/// One vector of a group as it was at one moment.
public struct InterruptVector: Hashable, Sendable {
    /// Its index in the group.
    public let index: Int
    /// Whether the host signals an eventfd for it: its notifier or, while masked, a private one.
    public let isWired: Bool
    /// Whether it is masked.
    public let isMasked: Bool
    /// Whether an interrupt waits for unmask.
    public let isPending: Bool
}

/// A group as it was at one moment.
public struct InterruptSnapshot: Hashable, Sendable {
    /// Where a group is in its life.
    public enum Phase: String, Sendable {
        /// Created or disabled: nothing is delivered.
        case configured
        /// Enabled.
        case live
        /// Given up: every call is an error.
        case destroyed
    }

    /// Where the group is in its life.
    public let phase: Phase
    /// Its vectors, by index. An MSI block smaller than the group leaves those beyond it unwired.
    public let vectors: [InterruptVector]
}
