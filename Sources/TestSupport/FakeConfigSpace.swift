/// The bytes of a configuration space, built from what a test wants in it (PCI 3.0 section 6).
public struct FakeConfigSpace: Sendable {
    /// 256 bytes, or 4,096 once there is an extended capability.
    public private(set) var bytes = [UInt8](repeating: 0, count: 256)
    private var lastPointer = 0x34
    private var next = 0x40
    private var lastExtended: Int?

    /// Creates an ordinary function's header, with INTx pin A if `pin` is 1.
    public init(pin: UInt8 = 1, headerType: UInt8 = 0) {
        bytes[0x06] = 0x10
        bytes[0x0e] = headerType
        bytes[0x3d] = pin
    }

    /// Adds an MSI capability with this Multiple Message Capable field, 0 to 7.
    public mutating func addMSI(encoding: UInt8) {
        add(id: 0x05, control: UInt16(encoding) << 1)
    }

    /// Adds an MSI-X capability with a table of `vectors`, 1 to 2,048.
    public mutating func addMSIX(vectors: UInt16) {
        add(id: 0x11, control: vectors - 1)
    }

    /// Adds the MSI-X capability with the registers that say where the table and the pending bits are: a BAR in the lowest
    /// three bits, the rest its offset there.
    public mutating func addMSIX(vectors: UInt16, table: UInt32, pendingBits: UInt32) {
        let offset = add(id: 0x11, control: vectors - 1)
        set(offset + 4, table, bytes: 4)
        set(offset + 8, pendingBits, bytes: 4)
    }

    /// Sets the command register.
    public mutating func setCommand(_ command: UInt16) {
        bytes[0x04] = UInt8(command & 0xff)
        bytes[0x05] = UInt8(command >> 8)
    }

    /// Adds an extended capability of version 1, with up to 15 words behind its header.
    public mutating func addExtended(id: UInt16, words: [UInt32]) {
        if bytes.count < 4096 { bytes += [UInt8](repeating: 0, count: 4096 - bytes.count) }
        let offset = lastExtended.map { $0 + 64 } ?? 0x100
        // The pointer to the next is the header's upper twelve bits.
        if let last = lastExtended { set(last + 2, UInt32(offset) << 4 | 1, bytes: 2) }
        set(offset, 1 << 16 | UInt32(id), bytes: 4)
        for (index, word) in words.prefix(15).enumerated() { set(offset + 4 + 4 * index, word, bytes: 4) }
        lastExtended = offset
    }

    private mutating func set(_ offset: Int, _ value: UInt32, bytes count: Int) {
        for index in 0..<count { bytes[offset + index] = UInt8(truncatingIfNeeded: value >> (8 * UInt32(index))) }
    }

    /// Adds any capability. Returns its offset.
    @discardableResult
    public mutating func add(id: UInt8, control: UInt16 = 0) -> Int {
        defer { next += 16 }
        bytes[lastPointer] = UInt8(next)
        bytes[next] = id
        bytes[next + 2] = UInt8(control & 0xff)
        bytes[next + 3] = UInt8(control >> 8)
        lastPointer = next + 1
        return next
    }
}
