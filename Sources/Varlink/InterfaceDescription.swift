/// A type in an interface description (https://varlink.org/Interface-Definition).
public indirect enum VarlinkType: Hashable, Sendable {
    /// true or false.
    case bool
    /// A signed 64-bit integer.
    case int
    /// A double.
    case float
    /// Text.
    case string
    /// Any JSON object.
    case object
    /// A type of this interface.
    case named(String)
    /// `?type`: null or absent are allowed.
    case optional(VarlinkType)
    /// `[]type`.
    case array(VarlinkType)
    /// `[string]type`.
    case map(VarlinkType)
    /// Fields in parentheses.
    case structure([VarlinkField])
    /// Bare names in parentheses.
    case enumeration([String])
}

/// A named member of a structure.
public struct VarlinkField: Hashable, Sendable {
    /// Its name.
    public var name: String
    /// Its type.
    public var type: VarlinkType

    /// Creates a field.
    public init(name: String, type: VarlinkType) {
        (self.name, self.type) = (name, type)
    }
}

/// An interface, as its description text says.
public struct InterfaceDescription: Hashable, Sendable {
    /// What a method takes and returns.
    public struct Method: Hashable, Sendable {
        /// The call's parameters.
        public var input: [VarlinkField]
        /// The reply's parameters.
        public var output: [VarlinkField]
    }

    /// Where and why a text is no interface description.
    public struct ParseError: Error, Hashable, Sendable, CustomStringConvertible {
        /// The line, from 1.
        public let line: Int
        /// What is wrong there.
        public let reason: String

        /// For example `line 3: no type Devce`.
        public var description: String { "line \(line): \(reason)" }
    }

    /// The interface's name, such as `org.varlink.service`.
    public let name: String
    /// The text it was read from.
    public let text: String
    /// Types by name.
    public let types: [String: VarlinkType]
    /// Methods by name.
    public let methods: [String: Method]
    /// The fields of each error by name.
    public let errors: [String: [VarlinkField]]

    /// Reads a description. Names used must be defined, and defined once.
    public init(parsing text: String) throws(ParseError) {
        var parser = InterfaceParser(text)
        try parser.parse()
        self.text = text
        name = parser.name
        types = parser.types
        methods = parser.methods
        errors = parser.errors
    }
}
