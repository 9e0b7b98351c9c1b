/// Registers at one place of a larger space, configuration space or a BAR, and the accesses that reach them.
struct RegisterWindow: Sendable {
    let start: UInt64
    /// In bytes.
    let length: Int

    /// The part of an access of `count` bytes at `offset` that falls on the window, nil if none does: how many bytes of
    /// the access come before it, and the bytes of the window.
    func overlap(at offset: UInt64, count: Int) -> (skipped: Int, bytes: Range<Int>)? {
        // Only differences: an offset can be anything up to the end of the address space.
        if offset >= start {
            guard count > 0, let first = Int(exactly: offset - start), first < length else { return nil }
            return (0, first..<first + min(count, length - first))
        }
        guard let skipped = Int(exactly: start - offset), skipped < count, length > 0 else { return nil }
        return (skipped, 0..<min(count - skipped, length))
    }
}

/// A few registers as bytes, in the order of PCI (little-endian), and which bits of them a guest can change.
struct RegisterBlock: Sendable {
    let window: RegisterWindow
    private var bytes: [UInt8]
    private var writable: [UInt8]

    /// `length` bytes of 0 that a guest can only read.
    init(at start: UInt64, length: Int) {
        window = RegisterWindow(start: start, length: length)
        bytes = Array(repeating: 0, count: length)
        writable = bytes
    }

    /// The register at byte `position`; 0, and nothing to set, where it does not lie inside.
    subscript<Value: FixedWidthInteger & UnsignedInteger>(_ position: Int, _ type: Value.Type = Value.self) -> Value {
        get { RegisterBlock.load(position, from: bytes) }
        set { RegisterBlock.store(newValue, position, into: &bytes) }
    }

    /// Lets a guest change these bits of the register at byte `position`.
    mutating func makeWritable<Value: FixedWidthInteger & UnsignedInteger>(_ bits: Value, at position: Int) {
        RegisterBlock.store(bits, position, into: &writable)
    }

    /// Fills in the bytes of an access that are these registers'; the others are left.
    func read(at offset: UInt64, into target: inout MutableSpan<UInt8>) {
        guard let (skipped, overlap) = window.overlap(at: offset, count: target.count) else { return }
        for position in overlap { target[skipped + position - overlap.lowerBound] = bytes[position] }
    }

    /// Takes the bytes of an access that are these registers'. Returns which those are, nil for none.
    mutating func write(_ source: Span<UInt8>, at offset: UInt64) -> Range<Int>? {
        guard let (skipped, overlap) = window.overlap(at: offset, count: source.count) else { return nil }
        for position in overlap {
            let byte = source[skipped + position - overlap.lowerBound]
            bytes[position] = bytes[position] & ~writable[position] | byte & writable[position]
        }
        return overlap
    }

    private static func load<Value: FixedWidthInteger & UnsignedInteger>(
        _ position: Int, from bytes: [UInt8]
    ) -> Value {
        let width = Value.bitWidth / 8
        guard position >= 0, position <= bytes.count - width else { return 0 }
        return (0..<width).reduce(0) { $0 | Value(bytes[position + $1]) << Value(8 * $1) }
    }

    private static func store<Value: FixedWidthInteger & UnsignedInteger>(
        _ value: Value, _ position: Int, into bytes: inout [UInt8]
    ) {
        let width = Value.bitWidth / 8
        guard position >= 0, position <= bytes.count - width else { return }
        for index in 0..<width { bytes[position + index] = UInt8(truncatingIfNeeded: value >> Value(8 * index)) }
    }
}
