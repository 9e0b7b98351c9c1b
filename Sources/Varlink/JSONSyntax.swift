internal import FoundationEssentials

/// Checks that a message is exactly one JSON object (RFC 8259), because the decoder is more lenient: it takes trailing
/// commas and a byte order mark, and of two members with one name the first.
struct JSONSyntax {
    /// What is wrong, as one clause.
    struct Violation: Error { let reason: String }

    private static let depthLimit = 128

    private let bytes: [UInt8]
    private var position = 0

    /// Throws what is wrong with `message`.
    static func check(_ message: [UInt8]) throws(Violation) {
        guard String(validating: message, as: UTF8.self) != nil else { throw Violation(reason: "it is not UTF-8") }
        var syntax = JSONSyntax(bytes: message)
        syntax.skipBlanks()
        guard syntax.next == UInt8(ascii: "{") else { throw Violation(reason: "it is no object") }
        try syntax.value(depth: 0)
        syntax.skipBlanks()
        if let more = syntax.next { throw syntax.unexpected(more) }
    }

    private init(bytes: [UInt8]) { self.bytes = bytes }

    private var next: UInt8? { position < bytes.count ? bytes[position] : nil }

    private mutating func value(depth: Int) throws(Violation) {
        guard depth < JSONSyntax.depthLimit else { throw Violation(reason: "it nests too deep") }
        switch next {
        case UInt8(ascii: "{"):
            var names: Set<String> = []
            try members(until: UInt8(ascii: "}")) { syntax throws(Violation) in
                let name = try syntax.string()
                guard names.insert(name).inserted else { throw Violation(reason: "\(name) is there twice") }
                syntax.skipBlanks()
                try syntax.expect(UInt8(ascii: ":"))
                syntax.skipBlanks()
                try syntax.value(depth: depth + 1)
            }
        case UInt8(ascii: "["):
            try members(until: UInt8(ascii: "]")) { syntax throws(Violation) in try syntax.value(depth: depth + 1) }
        case UInt8(ascii: "\""): _ = try string()
        case UInt8(ascii: "t"): try word("true")
        case UInt8(ascii: "f"): try word("false")
        case UInt8(ascii: "n"): try word("null")
        default: try number()
        }
    }

    private mutating func members(
        until end: UInt8, _ member: (inout JSONSyntax) throws(Violation) -> Void
    ) throws(Violation) {
        position += 1
        skipBlanks()
        if accept(end) { return }
        while true {
            try member(&self)
            skipBlanks()
            if accept(end) { return }
            try expect(UInt8(ascii: ","))
            skipBlanks()
        }
    }

    /// Passes over a string and returns what it says.
    private mutating func string() throws(Violation) -> String {
        let start = position
        try expect(UInt8(ascii: "\""))
        var isPlain = true
        while let byte = next, byte != UInt8(ascii: "\"") {
            guard byte >= 0x20 else { throw unexpected(byte) }
            if byte == UInt8(ascii: "\\") {
                isPlain = false
                position += 1
            }
            position += 1
        }
        try expect(UInt8(ascii: "\""))
        let quoted = bytes[start..<position]
        if isPlain { return String(decoding: quoted.dropFirst().dropLast(), as: UTF8.self) }
        guard let text = try? JSONDecoder().decode(String.self, from: Data(quoted)) else {
            throw Violation(reason: "a string has an escape that says nothing")
        }
        return text
    }

    private mutating func number() throws(Violation) {
        _ = accept(UInt8(ascii: "-"))
        if !accept(UInt8(ascii: "0")) { try digits() }
        if accept(UInt8(ascii: ".")) { try digits() }
        if accept(UInt8(ascii: "e")) || accept(UInt8(ascii: "E")) {
            if !accept(UInt8(ascii: "+")) { _ = accept(UInt8(ascii: "-")) }
            try digits()
        }
    }

    private mutating func digits() throws(Violation) {
        let start = position
        while let byte = next, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) { position += 1 }
        if position == start { throw unexpected(next) }
    }

    private mutating func word(_ word: String) throws(Violation) {
        for byte in word.utf8 { try expect(byte) }
    }

    private mutating func skipBlanks() {
        while accept(0x20) || accept(0x0a) || accept(0x0d) || accept(0x09) {}
    }

    private mutating func accept(_ byte: UInt8) -> Bool {
        guard next == byte else { return false }
        position += 1
        return true
    }

    private mutating func expect(_ byte: UInt8) throws(Violation) {
        guard accept(byte) else { throw unexpected(next) }
    }

    private func unexpected(_ byte: UInt8?) -> Violation {
        Violation(reason: byte == nil ? "it ends too early" : "byte \(position) does not belong there")
    }
}
