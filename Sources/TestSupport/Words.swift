// Structures of the kernel's interfaces as bytes: 32-bit words in the host's order, which is little-endian on every
// machine that we run on.
extension [UInt8] {
    /// The word at byte `offset`; nil beyond the end.
    func word(at offset: Int) -> UInt32? {
        guard offset >= 0, offset <= count - 4 else { return nil }
        return self[offset..<offset + 4].reversed().reduce(0) { $0 << 8 | UInt32($1) }
    }

    /// Sets the word at byte `offset`; beyond the end nothing.
    mutating func setWord(_ value: UInt32, at offset: Int) {
        guard offset >= 0, offset <= count - 4 else { return }
        for index in 0..<4 { self[offset + index] = UInt8(truncatingIfNeeded: value >> (8 * UInt32(index))) }
    }
}
