/// The MSI capability of a function as a guest sees it (PCI 3.0 section 6.8.1), and what its writes ask of the
/// ``InterruptSourceGroup`` behind it. A value without I/O.
///
/// None of this reaches the device: VFIO sets the hardware's own capability by SET_IRQS, and a guest's control word
/// written there would silence it.
///
/// - Accesses can have any size and place. What lies outside the capability is left alone.
/// - Multiple Message Enable above what the function is capable of is cut to it. While MSI is on the field keeps its
///   value: the host cannot let a block grow without losing interrupts, and software chooses before it enables.
/// - A message is complete when its data is written, or message control or the mask bits after it: so a driver that
///   writes address and data one after the other costs one change.
public struct EmulatedMSI: Sendable {
    private enum Position {
        static let control = 2
        static let address = 4
        static let upperAddress = 8
    }
    private enum Control {
        static let enable: UInt16 = 1 << 0
        static let capableShift = 1
        static let enabledShift = 4
        static let field: UInt16 = 7
        static let is64Bit: UInt16 = 1 << 7
        static let masksVectors: UInt16 = 1 << 8
    }
    private static let capabilityID: UInt8 = 0x05

    /// How many vectors the function offers: 1, 2, 4, 8, 16 or 32 (Multiple Message Capable).
    public let count: Int
    /// Whether a message's address has 64 bits.
    public let is64Bit: Bool
    /// Whether the capability has mask and pending bits.
    public let masksVectors: Bool
    /// What every message carries as its requester id; nil on x86.
    public let deviceID: UInt32?
    private var registers: RegisterBlock
    /// What the group knows as the block's message.
    private var told: InterruptMessage?
    /// What ``refused()`` puts back.
    private var before: Standing?

    private struct Standing {
        let control: UInt16
        let mask: UInt32
        let told: InterruptMessage?
    }

    /// A capability at byte `position` of configuration space, with `next` as its pointer to the one after it.
    ///
    /// Throws ``InterruptError/invalidCount(_:_:)`` for a number of vectors that MSI does not have.
    public init(
        count: Int, is64Bit: Bool = true, masksVectors: Bool = false, at position: UInt8, next: UInt8 = 0,
        deviceID: UInt32? = nil
    ) throws(InterruptError) {
        guard count >= 1, count <= InterruptType.msi.maximumCount, count.nonzeroBitCount == 1 else {
            throw .invalidCount(.msi, count)
        }
        self.count = count
        self.is64Bit = is64Bit
        self.masksVectors = masksVectors
        self.deviceID = deviceID
        registers = RegisterBlock(
            at: UInt64(position), length: EmulatedMSI.length(is64Bit: is64Bit, masksVectors: masksVectors))
        registers[0] = EmulatedMSI.capabilityID
        registers[1] = next
        control =
            UInt16(count.trailingZeroBitCount) << Control.capableShift | (is64Bit ? Control.is64Bit : 0)
            | (masksVectors ? Control.masksVectors : 0)
        registers.makeWritable(Control.enable | Control.field << Control.enabledShift, at: Position.control)
        // The low two bits are 0: a message is an aligned write.
        registers.makeWritable(~UInt32(3), at: Position.address)
        if is64Bit { registers.makeWritable(UInt32.max, at: Position.upperAddress) }
        registers.makeWritable(UInt16.max, at: dataPosition)
        if masksVectors { registers.makeWritable(bits(of: count), at: maskPosition) }
    }

    /// The capability that a device has at byte `position` of its configuration space, whose bytes from 0 on are given,
    /// with every bit that a guest can change at its value after reset. `count` offers fewer vectors than the device.
    ///
    /// Throws ``InterruptError/malformedCapability(_:)`` if there is no MSI capability.
    public init(
        copying configuration: Span<UInt8>, at position: UInt8, count: Int? = nil, deviceID: UInt32? = nil
    ) throws(InterruptError) {
        let first = Int(position)
        guard first <= configuration.count - 4, configuration[first] == EmulatedMSI.capabilityID else {
            throw .malformedCapability(.msi)
        }
        let control = UInt16(configuration[first + 3]) << 8 | UInt16(configuration[first + 2])
        let capable = 1 << Int(control >> Control.capableShift & Control.field)
        guard capable <= InterruptType.msi.maximumCount else { throw .malformedCapability(.msi) }
        try self.init(
            count: min(count ?? capable, capable), is64Bit: control & Control.is64Bit != 0,
            masksVectors: control & Control.masksVectors != 0, at: position, next: configuration[first + 1],
            deviceID: deviceID)
    }

    /// How many bytes the capability takes: 10, 14, 20 or 24.
    public var length: Int { registers.window.length }

    /// Whether the guest has MSI on.
    public var isEnabled: Bool { control & Control.enable != 0 }

    /// How many vectors the guest has chosen (Multiple Message Enable): a power of two of at most ``count``.
    public var activeCount: Int { 1 << Int(enabledField(control)) }

    /// Fills in the bytes of a read of configuration space that are the capability's; the others are left. `pending`
    /// says whether an interrupt of a masked vector waits, and is asked only for those whose bit is read.
    public func readConfiguration(
        at offset: UInt64, into bytes: inout MutableSpan<UInt8>, pending: (Int) -> Bool = { _ in false }
    ) {
        var shown = registers
        if masksVectors, isEnabled,
            let overlap = registers.window.overlap(at: offset, count: bytes.count)?.bytes
                .clamped(to: pendingPosition..<length), !overlap.isEmpty
        {
            let read = (overlap.lowerBound - pendingPosition) * 8..<(overlap.upperBound - pendingPosition) * 8
            var waiting: UInt32 = 0
            for vector in read.clamped(to: 0..<activeCount) where mask & bit(vector) != 0 && pending(vector) {
                waiting |= bit(vector)
            }
            shown[pendingPosition] = waiting
        }
        shown.read(at: offset, into: &bytes)
    }

    /// Takes the bytes of a write to configuration space that are the capability's, and says what they ask for.
    public mutating func writeConfiguration(_ bytes: Span<UInt8>, at offset: UInt64) -> InterruptChange? {
        let old = Standing(control: control, mask: mask, told: told)
        guard let written = registers.write(bytes, at: offset) else { return nil }
        let wasEnabled = old.control & Control.enable != 0
        let chosen = min(enabledField(control), control >> Control.capableShift & Control.field)
        setEnabledField(wasEnabled && isEnabled ? enabledField(old.control) : chosen)
        let change = change(from: old, written)
        before = change == nil ? nil : old
        return change
    }

    private mutating func change(from old: Standing, _ written: Range<Int>) -> InterruptChange? {
        switch (old.control & Control.enable != 0, isEnabled) {
        case (false, false): return nil
        case (true, false): return .disable
        case (false, true):
            told = message
            return .enable(configurations)
        case (true, true):
            // Drivers write the data last, so address bytes alone are half a message.
            let isHalf = written.clamped(to: Position.address..<dataPosition) == written
            var updates: [Int: InterruptConfiguration] = [:]
            if !isHalf && told != message {
                told = message
                updates[0] = InterruptConfiguration(message: message)
            }
            let changed = (old.mask ^ mask) & bits(of: activeCount)
            if changed == 0 { return updates[0].map { .update(0, $0) } }
            return .masks(
                InterruptChange.Masks(
                    masked: vectors(changed & mask), unmasked: vectors(changed & ~mask), updates: updates))
        }
    }

    /// The group refused what the last write asked for: control and mask bits are what they were before it, so that the
    /// guest reads what is. A message that was refused stays as written, and is asked for again with the next change.
    public mutating func refused() {
        guard let before else { return }
        (control, mask, told) = (before.control, before.mask, before.told)
        self.before = nil
    }

    /// The function was reset: all that the guest wrote is forgotten. A group that was on is to be disabled, and cannot
    /// refuse that.
    public mutating func reset() -> InterruptChange? {
        let wasEnabled = isEnabled
        control &= ~Control.enable
        setEnabledField(0)
        registers[Position.address] = UInt32(0)
        if is64Bit { registers[Position.upperAddress] = UInt32(0) }
        registers[dataPosition] = UInt16(0)
        mask = 0
        (told, before) = (nil, nil)
        return wasEnabled ? .disable : nil
    }

    private static func length(is64Bit: Bool, masksVectors: Bool) -> Int {
        10 + (is64Bit ? 4 : 0) + (masksVectors ? 10 : 0)
    }

    private var dataPosition: Int { is64Bit ? 12 : 8 }
    private var maskPosition: Int { dataPosition + 4 }
    private var pendingPosition: Int { maskPosition + 4 }

    private var control: UInt16 {
        get { registers[Position.control] }
        set { registers[Position.control] = newValue }
    }

    private func enabledField(_ control: UInt16) -> UInt16 { control >> Control.enabledShift & Control.field }

    private mutating func setEnabledField(_ value: UInt16) {
        control = control & ~(Control.field << Control.enabledShift) | value << Control.enabledShift
    }

    private var mask: UInt32 {
        get { masksVectors ? registers[maskPosition] : 0 }
        set { if masksVectors { registers[maskPosition] = newValue } }
    }

    private var message: InterruptMessage {
        let upper = is64Bit ? registers[Position.upperAddress, UInt32.self] : 0
        return InterruptMessage(
            address: UInt64(upper) << 32 | UInt64(registers[Position.address, UInt32.self]),
            data: UInt32(registers[dataPosition, UInt16.self]), deviceID: deviceID)
    }

    /// What the guest has written, as the configurations of a block of ``activeCount`` vectors.
    public var configurations: [InterruptConfiguration] {
        (0..<activeCount).map { InterruptConfiguration(message: message, startsMasked: mask & bit($0) != 0) }
    }

    private func bit(_ vector: Int) -> UInt32 { 1 << UInt32(truncatingIfNeeded: vector) }

    private func bits(of count: Int) -> UInt32 { count >= 32 ? .max : bit(count) &- 1 }

    private func vectors(_ bits: UInt32) -> RangeSet<Int> {
        var vectors = RangeSet<Int>()
        for vector in 0..<activeCount where bits & bit(vector) != 0 { vectors.insert(contentsOf: vector..<vector + 1) }
        return vectors
    }
}
