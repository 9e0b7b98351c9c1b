/// The bytes of a configuration space, built from what a test wants in it (PCI 3.0 section 6).
public struct FakeConfigSpace: Sendable {
    /// 256 bytes.
    public private(set) var bytes = [UInt8](repeating: 0, count: 256)
    private var lastPointer = 0x34
    private var next = 0x40

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

    /// Adds any capability.
    public mutating func add(id: UInt8, control: UInt16 = 0) {
        bytes[lastPointer] = UInt8(next)
        bytes[next] = id
        bytes[next + 2] = UInt8(control & 0xff)
        bytes[next + 3] = UInt8(control >> 8)
        lastPointer = next + 1
        next += 16
    }
}
