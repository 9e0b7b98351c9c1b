/// MSI-X of a function as a guest sees it (PCI 3.0 section 6.8.2), capability, table and Pending Bit Array, and what its
/// writes ask of the ``InterruptSourceGroup`` behind it. A value without I/O.
///
/// - Accesses can have any size and place, up to the end of the address space. What lies outside the registers is left
///   alone. Of writes to the table only aligned ones of 4 and 8 bytes take effect; the Pending Bit Array is read-only.
/// - A vector is masked by its entry or by the function mask. While it is masked its messages are only remembered here;
///   they are part of the change that unmasks it.
/// - The message of an unmasked vector is complete when its data is written, or its vector control after it: so a driver
///   that writes address and data one after the other costs one change.
public struct EmulatedMSIX: Sendable {
    private enum Position {
        static let control = 2
        static let table = 4
        static let pendingBits = 8
        static let end = 12
    }
    private enum Control {
        static let size: UInt16 = 0x7ff
        static let functionMask: UInt16 = 1 << 14
        static let enable: UInt16 = 1 << 15
    }
    private static let capabilityID: UInt8 = 0x11

    /// How many vectors the table has, 1 to 2,048.
    public let count: Int
    /// Where the table is, ``tableLength`` bytes.
    public let table: MSIXLocation
    /// Where the Pending Bit Array is, ``pendingBitsLength`` bytes.
    public let pendingBits: MSIXLocation
    /// What every message carries as its requester id; nil on x86.
    public let deviceID: UInt32?
    private var registers: RegisterBlock
    private var entries: MSIXTable
    private var undo: Undo?

    /// What ``refused()`` puts back.
    private struct Undo {
        var control: UInt16
        var entry: (index: Int, isMasked: Bool)?
        /// Vectors whose messages the group was to learn.
        var told: [Int]
    }

    /// A capability at byte `position` of configuration space, with `next` as its pointer to the one after it.
    ///
    /// Throws ``InterruptError/invalidCount(_:_:)`` for a number of vectors that MSI-X does not have.
    public init(
        count: Int, table: MSIXLocation, pendingBits: MSIXLocation, at position: UInt8, next: UInt8 = 0,
        deviceID: UInt32? = nil
    ) throws(InterruptError) {
        guard count >= 1, count <= InterruptType.msix.maximumCount else { throw .invalidCount(.msix, count) }
        self.count = count
        self.table = table
        self.pendingBits = pendingBits
        self.deviceID = deviceID
        entries = MSIXTable(count: count)
        registers = RegisterBlock(at: UInt64(position), length: Position.end)
        registers[0] = EmulatedMSIX.capabilityID
        registers[1] = next
        control = UInt16(count - 1)
        registers[Position.table] = table.register
        registers[Position.pendingBits] = pendingBits.register
        registers.makeWritable(Control.functionMask | Control.enable, at: Position.control)
    }

    /// The capability that a device has at byte `position` of its configuration space, whose bytes from 0 on are given,
    /// with every bit that a guest can change at its value after reset. `count` offers fewer vectors than the device.
    ///
    /// Throws ``InterruptError/malformedCapability(_:)`` if there is no MSI-X capability.
    public init(
        copying configuration: Span<UInt8>, at position: UInt8, count: Int? = nil, deviceID: UInt32? = nil
    ) throws(InterruptError) {
        let first = Int(position)
        guard first <= configuration.count - Position.end, configuration[first] == EmulatedMSIX.capabilityID,
            let table = MSIXLocation(register: EmulatedMSIX.word(configuration, first + Position.table)),
            let pendingBits = MSIXLocation(register: EmulatedMSIX.word(configuration, first + Position.pendingBits))
        else { throw .malformedCapability(.msix) }
        let control = UInt16(configuration[first + 3]) << 8 | UInt16(configuration[first + 2])
        let size = Int(control & Control.size) + 1
        try self.init(
            count: min(count ?? size, size), table: table, pendingBits: pendingBits, at: position,
            next: configuration[first + 1], deviceID: deviceID)
    }

    /// How many bytes the table takes: 16 for each vector.
    public var tableLength: Int { entries.length }

    /// How many bytes the Pending Bit Array takes: 8 for each 64 vectors begun.
    public var pendingBitsLength: Int { (count + 63) / 64 * 8 }

    /// Whether the guest has MSI-X on.
    public var isEnabled: Bool { control & Control.enable != 0 }

    /// Whether the guest masks all vectors together.
    public var isFunctionMasked: Bool { control & Control.functionMask != 0 }

    /// The message that the guest wrote for a vector; nil for a wrong index.
    public func message(of index: Int) -> InterruptMessage? {
        (0..<count).contains(index) ? message(entries[index]) : nil
    }

    /// Whether a vector delivers nothing, because MSI-X is off, or the function or the vector is masked.
    public func isMasked(_ index: Int) -> Bool {
        guard isEnabled, !isFunctionMasked, (0..<count).contains(index) else { return true }
        return entries[index].isMasked
    }

    /// Whether an access to a BAR touches the table or the Pending Bit Array.
    public func covers(bar: Int, at offset: UInt64, count: Int) -> Bool {
        window(of: table, bar, tableLength)?.overlap(at: offset, count: count) != nil
            || window(of: pendingBits, bar, pendingBitsLength)?.overlap(at: offset, count: count) != nil
    }

    // MARK: Configuration space

    /// Fills in the bytes of a read of configuration space that are the capability's; the others are left.
    public func readConfiguration(at offset: UInt64, into bytes: inout MutableSpan<UInt8>) {
        registers.read(at: offset, into: &bytes)
    }

    /// Takes the bytes of a write to configuration space that are the capability's, and says what they ask for.
    public mutating func writeConfiguration(_ bytes: Span<UInt8>, at offset: UInt64) -> InterruptChange? {
        let (old, wasEnabled, wasFunctionMasked) = (control, isEnabled, isFunctionMasked)
        undo = nil
        guard registers.write(bytes, at: offset) != nil else { return nil }
        switch (wasEnabled, isEnabled) {
        case (false, false): return nil
        case (true, false):
            undo = Undo(control: old, told: [])
            return .disable
        case (false, true):
            undo = Undo(control: old, told: Array(0..<count))
            return .enable(
                (0..<count).map { index in
                    entries[index].isTold = true
                    return InterruptConfiguration(
                        message: message(entries[index]),
                        startsMasked: isFunctionMasked || entries[index].isMasked)
                })
        case (true, true):
            if wasFunctionMasked == isFunctionMasked { return nil }
            return masks(entries.unmasked, undo: Undo(control: old, told: []))
        }
    }

    // MARK: BARs

    /// Fills in the bytes of a read of a BAR that are the table's or the Pending Bit Array's; the others are left.
    /// `pending` says whether an interrupt of a masked vector waits, and is asked only for masked vectors whose bit is
    /// read. While MSI-X is off nothing is pending.
    public func read(
        bar: Int, at offset: UInt64, into bytes: inout MutableSpan<UInt8>, pending: (Int) -> Bool = { _ in false }
    ) {
        if let (skipped, overlap) = window(of: pendingBits, bar, pendingBitsLength)?
            .overlap(at: offset, count: bytes.count)
        {
            for position in overlap {
                bytes[skipped + position - overlap.lowerBound] = pendingByte(position, pending)
            }
        }
        if let (skipped, overlap) = window(of: table, bar, tableLength)?.overlap(at: offset, count: bytes.count) {
            for position in overlap { bytes[skipped + position - overlap.lowerBound] = entries.byte(at: position) }
        }
    }

    /// Takes a write to a BAR as far as it is for the table, and says what it asks for.
    public mutating func write(_ bytes: Span<UInt8>, bar: Int, at offset: UInt64) -> InterruptChange? {
        undo = nil
        guard let (skipped, overlap) = window(of: table, bar, tableLength)?.overlap(at: offset, count: bytes.count),
            skipped == 0, let write = entries.write(bytes, at: overlap.lowerBound)
        else { return nil }
        let index = write.index
        let entry = entries[index]
        guard isEnabled, !isFunctionMasked else { return nil }
        let undo = Undo(control: control, entry: (index, write.old.isMasked), told: [])
        if entry.isMasked != write.old.isMasked { return masks(RangeSet(index..<index + 1), undo: undo) }
        if entry.isMasked || write.isHalf || entry.isTold { return nil }
        self.undo = undo
        return .update(index, tell(index))
    }

    /// The group refused what the last write asked for: the bits that mask and enable are what they were before it, so
    /// that the guest reads what is. A message that was refused stays as written, and is asked for again with the next
    /// change of its vector.
    public mutating func refused() {
        guard let undo else { return }
        self.undo = nil
        control = undo.control
        if let entry = undo.entry { entries[entry.index].isMasked = entry.isMasked }
        for index in undo.told { entries[index].isTold = false }
    }

    /// The function was reset: all that the guest wrote is forgotten, and every vector is masked. A group that was on is
    /// to be disabled, and cannot refuse that.
    public mutating func reset() -> InterruptChange? {
        let wasEnabled = isEnabled
        control &= ~(Control.enable | Control.functionMask)
        entries = MSIXTable(count: count)
        undo = nil
        return wasEnabled ? .disable : nil
    }

    /// These vectors were masked or unmasked together. Those unmasked take the messages along that the group does not
    /// know yet.
    private mutating func masks(_ vectors: RangeSet<Int>, undo: Undo) -> InterruptChange? {
        guard let first = vectors.ranges.first?.lowerBound else { return nil }
        self.undo = undo
        if isMasked(first) { return .masks(InterruptChange.Masks(masked: vectors)) }
        var updates: [Int: InterruptConfiguration] = [:]
        for index in vectors.ranges.joined() where !entries[index].isTold { updates[index] = tell(index) }
        return .masks(InterruptChange.Masks(unmasked: vectors, updates: updates))
    }

    private mutating func tell(_ index: Int) -> InterruptConfiguration {
        entries[index].isTold = true
        undo?.told.append(index)
        return InterruptConfiguration(message: message(entries[index]))
    }

    private func message(_ entry: MSIXTable.Entry) -> InterruptMessage {
        InterruptMessage(address: entry.address, data: entry.data, deviceID: deviceID)
    }

    private func pendingByte(_ position: Int, _ pending: (Int) -> Bool) -> UInt8 {
        guard isEnabled else { return 0 }
        let vectors = (8 * position..<8 * position + 8).clamped(to: 0..<count)
        return vectors.reduce(0) { byte, vector in
            isMasked(vector) && pending(vector) ? byte | 1 << UInt8(vector % 8) : byte
        }
    }

    private func window(of location: MSIXLocation, _ bar: Int, _ length: Int) -> RegisterWindow? {
        location.bar == bar ? RegisterWindow(start: UInt64(location.offset), length: length) : nil
    }

    private var control: UInt16 {
        get { registers[Position.control] }
        set { registers[Position.control] = newValue }
    }

    private static func word(_ bytes: Span<UInt8>, _ position: Int) -> UInt32 {
        (0..<4).reduce(0) { $0 | UInt32(bytes[position + $1]) << UInt32(8 * $1) }
    }
}
