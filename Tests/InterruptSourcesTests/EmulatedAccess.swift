import InterruptSources

/// Accesses of a guest with bytes in arrays. A byte that a read leaves alone is ``filler``.
enum EmulatedAccess {
    static let filler: UInt8 = 0xaa

    static func read(_ count: Int, _ body: (inout MutableSpan<UInt8>) -> Void) -> [UInt8] {
        var bytes = [UInt8](repeating: filler, count: count)
        var span = bytes.mutableSpan
        body(&span)
        return bytes
    }

    /// The low `width` bytes of a value, as PCI orders them.
    static func bytes(_ value: UInt64, _ width: Int) -> [UInt8] {
        (0..<width).map { UInt8(truncatingIfNeeded: value >> UInt64(8 * $0)) }
    }
}

extension [UInt8] {
    /// These bytes as one value.
    var value: UInt64 { reversed().reduce(0) { $0 << 8 | UInt64($1) } }
}

extension EmulatedMSI {
    func configuration(
        at offset: UInt64, _ count: Int, pending: (Int) -> Bool = { _ in false }
    ) -> [UInt8] {
        EmulatedAccess.read(count) { readConfiguration(at: offset, into: &$0, pending: pending) }
    }

    mutating func writeConfiguration(_ value: UInt64, _ width: Int, at offset: UInt64) -> InterruptChange? {
        writeConfiguration(EmulatedAccess.bytes(value, width).span, at: offset)
    }
}

extension EmulatedMSIX {
    func configuration(at offset: UInt64, _ count: Int) -> [UInt8] {
        EmulatedAccess.read(count) { readConfiguration(at: offset, into: &$0) }
    }

    func read(bar: Int, at offset: UInt64, _ count: Int, pending: (Int) -> Bool = { _ in false }) -> [UInt8] {
        EmulatedAccess.read(count) { read(bar: bar, at: offset, into: &$0, pending: pending) }
    }

    mutating func writeConfiguration(_ value: UInt64, _ width: Int, at offset: UInt64) -> InterruptChange? {
        writeConfiguration(EmulatedAccess.bytes(value, width).span, at: offset)
    }

    mutating func write(_ value: UInt64, _ width: Int, bar: Int, at offset: UInt64) -> InterruptChange? {
        write(EmulatedAccess.bytes(value, width).span, bar: bar, at: offset)
    }
}

/// A table as Linux drives it: BAR 2, table at 0x1000, Pending Bit Array at 0x2000, capability at 0x70.
struct GuestTable {
    static let position: UInt64 = 0x70
    static let bar = 2
    static let table: UInt64 = 0x1000
    static let pendingBits: UInt64 = 0x9000
    var msix: EmulatedMSIX

    init(count: Int) throws {
        let (table, pendingBits) = (
            MSIXLocation(bar: 2, offset: 0x1000), MSIXLocation(bar: 2, offset: UInt32(GuestTable.pendingBits))
        )
        guard let table, let pendingBits else { throw InterruptError.malformedCapability(.msix) }
        msix = try EmulatedMSIX(count: count, table: table, pendingBits: pendingBits, at: 0x70, next: 0xa0)
    }

    var control: UInt16 { UInt16(msix.configuration(at: GuestTable.position + 2, 2).value) }

    /// Writes message control: Enable is bit 15, Function Mask bit 14.
    mutating func setControl(enable: Bool, functionMask: Bool = false) -> InterruptChange? {
        let value: UInt64 = (enable ? 0x8000 : 0) | (functionMask ? 0x4000 : 0)
        return msix.writeConfiguration(value, 2, at: GuestTable.position + 2)
    }

    /// Writes one dword of an entry: 0 and 1 the address, 2 the data, 3 vector control.
    mutating func set(_ index: Int, word: Int, _ value: UInt32) -> InterruptChange? {
        msix.write(UInt64(value), 4, bar: 2, at: GuestTable.table + UInt64(16 * index + 4 * word))
    }

    func word(_ index: Int, _ word: Int) -> UInt32 {
        UInt32(msix.read(bar: 2, at: GuestTable.table + UInt64(16 * index + 4 * word), 4).value)
    }

    /// Writes a message as drivers do, address first, and returns what each of the three writes asked for.
    mutating func setMessage(_ index: Int, data: UInt32) -> [InterruptChange] {
        [(0, UInt32(0xfee0_1000)), (1, 0), (2, data)].compactMap { set(index, word: $0, $1) }
    }

    static func message(data: UInt32) -> InterruptMessage { InterruptMessage(address: 0xfee0_1000, data: data) }
}
