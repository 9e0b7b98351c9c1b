internal import InterruptSources

/// One of the two that are compared: the floor, or vfiod. Each operation is one call; whoever drives it takes the time.
///
/// Vectors are those of one device, all with different messages, and wired to a virtual machine that never runs.
protocol BenchmarkSide {
    /// How many requests it has made of the kernel so far, eventfds and their reads and writes not counted.
    var requests: Int { get }

    /// Gets ready for `count` vectors of a type, which are then off.
    mutating func create(_ type: InterruptType, count: Int) throws
    /// Turns all of them on, unmasked.
    mutating func enable() throws
    /// Turns them off.
    mutating func disable() throws
    /// Gives back what `create` took.
    mutating func destroy() throws
    /// Gives a live vector another message.
    mutating func update(_ index: Int) throws
    /// Raises one interrupt.
    mutating func trigger(_ index: Int) throws
    /// Masks a live vector.
    mutating func mask(_ index: Int) throws
    /// Unmasks it.
    mutating func unmask(_ index: Int) throws
    /// From nothing to all vectors live, as a Linux guest gets there: MSI-X enabled with every vector masked, every
    /// message written, one vector unmasked after another. The floor knows beforehand what will come of it.
    mutating func bringUp(count: Int) throws
}
