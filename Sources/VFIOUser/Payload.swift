/// Takes a payload apart, number by number. What is not there is nil.
struct PayloadReader {
    private var rest: ArraySlice<UInt8>

    init(_ bytes: [UInt8]) { rest = bytes[...] }

    /// How many bytes are left.
    var count: Int { rest.count }

    /// The next number, nil if too few bytes are left.
    mutating func number<Number: FixedWidthInteger & UnsignedInteger>(_ type: Number.Type) -> Number? {
        let size = Number.bitWidth / 8
        guard rest.count >= size else { return nil }
        var value = Number.zero
        for byte in rest.prefix(size).reversed() { value = value << 8 | Number(byte) }
        rest = rest.dropFirst(size)
        return value
    }

    /// The next bytes, nil if too few are left.
    mutating func bytes(_ count: Int) -> [UInt8]? {
        guard count >= 0, rest.count >= count else { return nil }
        defer { rest = rest.dropFirst(count) }
        return Array(rest.prefix(count))
    }

    /// All that is left.
    mutating func remainder() -> [UInt8] {
        defer { rest = [] }
        return Array(rest)
    }
}

/// Puts a payload together, number by number.
struct PayloadWriter {
    private(set) var bytes: [UInt8] = []

    mutating func add<Number: FixedWidthInteger & UnsignedInteger>(_ number: Number) {
        for shift in stride(from: 0, to: Number.bitWidth, by: 8) {
            bytes.append(UInt8(truncatingIfNeeded: number >> Number(shift)))
        }
    }

    mutating func add(_ more: [UInt8]) { bytes += more }
}
