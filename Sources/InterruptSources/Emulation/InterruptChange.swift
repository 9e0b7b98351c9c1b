/// What a guest's write to an emulated capability or table asks of the interrupt source group behind it: one call,
/// ``InterruptSourceGroup/apply(_:)``.
///
/// A write that asks for nothing gives no change: it was read-only, repeated what stood there, or concerns a vector that
/// is masked or a function that is off, and is remembered by the emulation.
public enum InterruptChange: Hashable, Sendable {
    /// The guest has turned the function on. One configuration for each vector of the block or the table, each of which
    /// says whether the vector starts masked.
    case enable([InterruptConfiguration])
    /// The guest has turned it off.
    case disable
    /// The message of an unmasked vector has changed; in an MSI block, of all.
    case update(Int, InterruptConfiguration)
    /// Vectors were masked or unmasked.
    case masks(Masks)

    /// Vectors that one write has masked or unmasked: one of them by its own bit, a whole table by its function mask,
    /// several of an MSI block by its mask register.
    public struct Masks: Hashable, Sendable {
        /// The vectors that were unmasked and are masked now.
        public var masked = RangeSet<Int>()
        /// The vectors that were masked and are unmasked now.
        public var unmasked = RangeSet<Int>()
        /// New messages of unmasked vectors, which they are to have before they are unmasked.
        public var updates: [Int: InterruptConfiguration] = [:]

        /// Creates a set of changes.
        public init(
            masked: RangeSet<Int> = RangeSet(), unmasked: RangeSet<Int> = RangeSet(),
            updates: [Int: InterruptConfiguration] = [:]
        ) {
            (self.masked, self.unmasked, self.updates) = (masked, unmasked, updates)
        }
    }
}
