/// Where a function has its MSI-X table or Pending Bit Array: the register that says so (PCI 3.0 section 6.8.2, Table
/// Offset/Table BIR and PBA Offset/PBA BIR).
public struct MSIXLocation: Hashable, Sendable {
    /// The BAR, 0 to 5 (BAR Indicator Register).
    public let bar: Int
    /// Byte offset in it, a multiple of 8.
    public let offset: UInt32

    /// A place. Nil where no function can have one: another BAR, or an offset that is no multiple of 8.
    public init?(bar: Int, offset: UInt32) {
        guard (0...5).contains(bar), offset % 8 == 0 else { return nil }
        (self.bar, self.offset) = (bar, offset)
    }

    /// The place that a register names, nil for a reserved BAR.
    public init?(register: UInt32) {
        self.init(bar: Int(register & 7), offset: register & ~7)
    }

    /// The register that names it.
    public var register: UInt32 { offset | UInt32(truncatingIfNeeded: bar) }
}
