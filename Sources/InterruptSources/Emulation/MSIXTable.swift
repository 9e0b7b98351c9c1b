/// The MSI-X table as a guest sees it (PCI 3.0 section 6.8.2): entries of 16 bytes, each a message and a vector control
/// word. It knows nothing of the function mask.
struct MSIXTable: Sendable {
    static let entryLength = 16
    private static let maskBit: UInt32 = 1

    /// One entry.
    struct Entry: Sendable {
        var address: UInt64 = 0
        var data: UInt32 = 0
        /// Only bit 0 has a meaning to us; what a guest keeps in the others is kept.
        var control = MSIXTable.maskBit
        /// Whether the group knows the message.
        var isTold = false

        var isMasked: Bool {
            get { control & MSIXTable.maskBit != 0 }
            set { control = newValue ? control | MSIXTable.maskBit : control & ~MSIXTable.maskBit }
        }
    }

    /// An access that took effect.
    struct Write {
        let index: Int
        let old: Entry
        /// Whether only the address was written: drivers write the data after it, so that is half a message.
        let isHalf: Bool
    }

    private var entries: [Entry]

    /// Entries as after reset: without message, masked.
    init(count: Int) {
        entries = Array(repeating: Entry(), count: count)
    }

    subscript(_ index: Int) -> Entry {
        get { entries[index] }
        set { entries[index] = newValue }
    }

    /// The vectors whose own bit does not mask them.
    var unmasked: RangeSet<Int> { entries.indices { !$0.isMasked } }

    /// In bytes.
    var length: Int { entries.count * MSIXTable.entryLength }

    /// The byte at `position`, which lies inside.
    func byte(at position: Int) -> UInt8 {
        let entry = entries[position / MSIXTable.entryLength]
        let half = position & 8 == 0 ? entry.address : UInt64(entry.control) << 32 | UInt64(entry.data)
        return UInt8(truncatingIfNeeded: half >> UInt64(8 * (position & 7)))
    }

    /// Takes an aligned access of 4 or 8 bytes that lies inside; any other has no effect and gives nil.
    mutating func write(_ bytes: Span<UInt8>, at position: Int) -> Write? {
        guard bytes.count == 4 || bytes.count == 8, position >= 0, position % bytes.count == 0,
            position <= length - bytes.count
        else { return nil }
        let index = position / MSIXTable.entryLength
        let first = position % MSIXTable.entryLength / 4
        let old = entries[index]
        for number in 0..<bytes.count / 4 {
            let word = (0..<4).reduce(UInt32(0)) { $0 | UInt32(bytes[4 * number + $1]) << UInt32(8 * $1) }
            entries[index].set(word: first + number, to: word)
        }
        if entries[index].address != old.address || entries[index].data != old.data { entries[index].isTold = false }
        return Write(index: index, old: old, isHalf: first + bytes.count / 4 <= 2)
    }
}

extension MSIXTable.Entry {
    fileprivate mutating func set(word: Int, to value: UInt32) {
        switch word {
        // The low two bits are 0: a message is an aligned write.
        case 0: address = address & ~0xffff_ffff | UInt64(value & ~3)
        case 1: address = address & 0xffff_ffff | UInt64(value) << 32
        case 2: data = value
        default: control = value
        }
    }
}
