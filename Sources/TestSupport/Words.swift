// Structures of the kernel's interfaces as bytes: 32-bit words in the host's order, which is little-endian on every
// machine that we run on.
extension [UInt8] {
    /// The word at byte `offset`; nil beyond the end.
    func word(at offset: Int) -> UInt32? {
        guard offset >= 0, offset <= count - 4 else { return nil }
        return UInt32(self[offset]) | UInt32(self[offset + 1]) << 8 | UInt32(self[offset + 2]) << 16
            | UInt32(self[offset + 3]) << 24
    }

    /// Sets the word at byte `offset`; beyond the end nothing.
    mutating func setWord(_ value: UInt32, at offset: Int) {
        guard offset >= 0, offset <= count - 4 else { return }
        self[offset] = UInt8(truncatingIfNeeded: value)
        self[offset + 1] = UInt8(truncatingIfNeeded: value >> 8)
        self[offset + 2] = UInt8(truncatingIfNeeded: value >> 16)
        self[offset + 3] = UInt8(truncatingIfNeeded: value >> 24)
    }

    /// The 64-bit word at byte `offset`; 0 beyond the end.
    func long(at offset: Int) -> UInt64 {
        UInt64(word(at: offset) ?? 0) | UInt64(word(at: offset + 4) ?? 0) << 32
    }

    /// Sets the 64-bit word at byte `offset`; beyond the end nothing.
    mutating func setLong(_ value: UInt64, at offset: Int) {
        setWord(UInt32(truncatingIfNeeded: value), at: offset)
        setWord(UInt32(truncatingIfNeeded: value >> 32), at: offset + 4)
    }
}
