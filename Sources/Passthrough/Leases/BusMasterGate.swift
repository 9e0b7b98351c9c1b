/// Whether a device may become a bus master: not while memory that its guest takes for mapped is still being pinned, and not
/// any more once that has failed. A guest that writes the bit meanwhile reads it back.
///
/// A device that is a bus master already stays one: it does not reach the memory that is missing, and the guest has no use for
/// that yet.
struct BusMasterGate: Sendable {
    // Command, bit 2 (PCI 3.0 section 6.2.2).
    private static let command: UInt64 = 4
    private static let bit: UInt8 = 1 << 2

    private var pending = 0
    private var hasFailed = false
    private var isWanted = false
    private var isOn = false

    private var isClosed: Bool { pending > 0 || hasFailed }

    /// Something is being pinned.
    mutating func close() { pending += 1 }

    /// It is, or cannot be. Returns whether the device is to be made a bus master now.
    mutating func open(succeeded: Bool) -> Bool {
        pending -= 1
        if !succeeded { hasFailed = true }
        guard !isClosed, isWanted, !isOn else { return false }
        isOn = true
        return true
    }

    /// The device was reset.
    mutating func reset() { (isWanted, isOn) = (false, false) }

    /// Takes a write of configuration space, and returns what of it goes on to the device.
    mutating func take(_ bytes: [UInt8], at offset: UInt64) -> [UInt8] {
        guard let index = BusMasterGate.index(bytes, offset) else { return bytes }
        isWanted = bytes[index] & BusMasterGate.bit != 0
        var bytes = bytes
        if isWanted, !isOn, isClosed {
            bytes[index] &= ~BusMasterGate.bit
        } else {
            isOn = isWanted
        }
        return bytes
    }

    /// Puts what the guest wrote into what was read of configuration space.
    func fill(_ bytes: inout [UInt8], at offset: UInt64) {
        guard isWanted, !isOn, let index = BusMasterGate.index(bytes, offset) else { return }
        bytes[index] |= BusMasterGate.bit
    }

    private static func index(_ bytes: [UInt8], _ offset: UInt64) -> Int? {
        guard offset <= command, let index = Int(exactly: command - offset), bytes.indices.contains(index) else {
            return nil
        }
        return index
    }
}
