/// Reads the text of an interface description: tokens, then members.
struct InterfaceParser {
    private struct Token {
        var text: String
        var line: Int
    }

    private static let depthLimit = 32

    private(set) var name = ""
    private(set) var types: [String: VarlinkType] = [:]
    private(set) var methods: [String: InterfaceDescription.Method] = [:]
    private(set) var errors: [String: [VarlinkField]] = [:]

    private var tokens: [Token] = []
    private var position = 0
    private var line = 1
    /// Names of types that were used, with the line of their use.
    private var used: [Token] = []

    init(_ text: String) {
        tokens = InterfaceParser.tokens(of: text)
    }

    mutating func parse() throws(InterfaceDescription.ParseError) {
        try expect("interface")
        name = try next("the interface's name")
        guard InterfaceParser.isInterfaceName(name) else { throw failure("\(name) is no interface name") }
        while position < tokens.count { try member() }
        for token in used where types[token.text] == nil {
            throw InterfaceDescription.ParseError(line: token.line, reason: "no type \(token.text)")
        }
    }

    private mutating func member() throws(InterfaceDescription.ParseError) {
        let keyword = try next("a member")
        let member = try next("a name")
        guard InterfaceParser.isMemberName(member) else { throw failure("\(member) is no member name") }
        guard types[member] == nil, methods[member] == nil, errors[member] == nil else {
            throw failure("\(member) is defined twice")
        }
        switch keyword {
        case "type": types[member] = try group(depth: 0)
        case "error": errors[member] = try structure()
        case "method":
            let input = try structure()
            try expect("->")
            methods[member] = InterfaceDescription.Method(input: input, output: try structure())
        default: throw failure("\(keyword) begins no member")
        }
    }

    private mutating func structure() throws(InterfaceDescription.ParseError) -> [VarlinkField] {
        guard case .structure(let fields) = try group(depth: 0) else { throw failure("an enumeration is no structure") }
        return fields
    }

    /// A structure or an enumeration; `()` is a structure without fields.
    private mutating func group(depth: Int) throws(InterfaceDescription.ParseError) -> VarlinkType {
        guard depth < InterfaceParser.depthLimit else { throw failure("types nest too deep") }
        try expect("(")
        if accept(")") { return .structure([]) }
        var fields: [VarlinkField] = []
        var names: [String] = []
        repeat {
            let field = try next("a field")
            guard InterfaceParser.isFieldName(field) else { throw failure("\(field) is no field name") }
            guard !names.contains(field) else { throw failure("\(field) is there twice") }
            names.append(field)
            if accept(":") { fields.append(VarlinkField(name: field, type: try type(depth: depth + 1))) }
        } while accept(",")
        try expect(")")
        if fields.isEmpty { return .enumeration(names) }
        guard fields.count == names.count else { throw failure("a field without a type") }
        return .structure(fields)
    }

    private mutating func type(depth: Int) throws(InterfaceDescription.ParseError) -> VarlinkType {
        guard depth < InterfaceParser.depthLimit else { throw failure("types nest too deep") }
        if accept("?") {
            let type = try type(depth: depth + 1)
            if case .optional = type { throw failure("?? is no type") }
            return .optional(type)
        }
        if accept("[") {
            let isMap = accept("string")
            try expect("]")
            let element = try type(depth: depth + 1)
            return isMap ? .map(element) : .array(element)
        }
        if position < tokens.count && tokens[position].text == "(" { return try group(depth: depth) }
        let word = try next("a type")
        switch word {
        case "bool": return .bool
        case "int": return .int
        case "float": return .float
        case "string": return .string
        case "object": return .object
        default:
            guard InterfaceParser.isMemberName(word) else { throw failure("\(word) is no type") }
            used.append(Token(text: word, line: line))
            return .named(word)
        }
    }

    private func failure(_ reason: String) -> InterfaceDescription.ParseError {
        InterfaceDescription.ParseError(line: line, reason: reason)
    }

    private mutating func next(_ wanted: String) throws(InterfaceDescription.ParseError) -> String {
        guard position < tokens.count else { throw failure("\(wanted) is missing at the end") }
        let token = tokens[position]
        position += 1
        line = token.line
        return token.text
    }

    private mutating func accept(_ text: String) -> Bool {
        guard position < tokens.count, tokens[position].text == text else { return false }
        line = tokens[position].line
        position += 1
        return true
    }

    private mutating func expect(_ text: String) throws(InterfaceDescription.ParseError) {
        let found = try next(text)
        guard found == text else { throw failure("\(found) where \(text) should be") }
    }
}

extension InterfaceParser {
    /// Words, `->` and single marks; comments and white space left out.
    private static func tokens(of text: String) -> [Token] {
        var tokens: [Token] = []
        for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            var rest = line.prefix { $0 != "#" }
            while let first = rest.first {
                let token: Substring
                if first == " " || first == "\t" || first == "\r" {
                    rest = rest.dropFirst()
                    continue
                } else if isWord(first) {
                    token = rest.prefix(while: isWord)
                } else {
                    token = rest.prefix(rest.hasPrefix("->") ? 2 : 1)
                }
                tokens.append(Token(text: String(token), line: index + 1))
                rest = rest.dropFirst(token.count)
            }
        }
        return tokens
    }

    // Interface names may have hyphens by the grammar; ours have none, and `->` needs no look-ahead so.
    private static func isWord(_ character: Character) -> Bool {
        isLetterOrDigit(character) || character == "_" || character == "."
    }

    private static func isLetterOrDigit(_ character: Character) -> Bool {
        character.isASCII && (character.isLetter || character.isNumber)
    }

    private static func isInterfaceName(_ name: String) -> Bool {
        let labels = name.split(separator: ".", omittingEmptySubsequences: false)
        return labels.count > 1 && labels.allSatisfy { !$0.isEmpty && $0.allSatisfy(isLetterOrDigit) }
            && labels.first?.first?.isLetter == true
    }

    private static func isMemberName(_ name: String) -> Bool {
        name.first?.isUppercase == true && name.allSatisfy(isLetterOrDigit)
    }

    private static func isFieldName(_ name: String) -> Bool {
        name.first?.isLetter == true && name.allSatisfy { isLetterOrDigit($0) || $0 == "_" }
            && name.last != "_" && !name.contains("__")
    }
}
