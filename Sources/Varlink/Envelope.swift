internal import FoundationEssentials

/// The parameters of a method: a Codable structure that knows its fields, so that others can be refused.
public protocol VarlinkParameters: Codable, Sendable {
    /// The names of all fields.
    static var fields: [String] { get }
}

/// The parameters of a method that has none, and the reply of one that says nothing.
public struct NoParameters: VarlinkParameters, Hashable {
    /// None.
    public static let fields: [String] = []
    /// Creates them.
    public init() {}
}

/// A key that is taken as it comes.
struct AnyKey: CodingKey {
    let stringValue: String
    var intValue: Int? { nil }
    init(_ name: String) { stringValue = name }
    init?(stringValue: String) { self.stringValue = stringValue }
    init?(intValue: Int) { nil }
}

/// A call as it stands on the wire, without its parameters.
struct CallEnvelope: Codable, Hashable {
    var method: String
    var oneway: Bool?
    var more: Bool?

    /// Why a message is no call.
    struct Malformed: Error { let reason: String }

    private static let keys: Set<String> = ["method", "parameters", "oneway", "more", "upgrade"]

    init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: AnyKey.self)
        if let unknown = container.allKeys.map(\.stringValue).filter({ !Self.keys.contains($0) }).min() {
            throw Malformed(reason: "unknown key \(unknown)")
        }
        func field<Value: Decodable>(_ name: String, _ type: Value.Type, _ typeName: String) throws -> Value? {
            do {
                return try container.decodeIfPresent(type, forKey: AnyKey(name))
            } catch {
                throw Malformed(reason: "\(name) is no \(typeName)")
            }
        }
        guard let method = try field("method", String.self, "string") else { throw Malformed(reason: "no method") }
        self.method = method
        oneway = try field("oneway", Bool.self, "boolean")
        more = try field("more", Bool.self, "boolean")
        if oneway == true && more == true { throw Malformed(reason: "oneway and more exclude each other") }
        if try field("upgrade", Bool.self, "boolean") == true { throw Malformed(reason: "upgrade is not offered") }
        if try hasParameters(container) && (try? parameters(container)) == nil {
            throw Malformed(reason: "parameters is no object")
        }
    }

    /// Reads the envelope of a message. Throws ``Malformed``.
    static func read(_ message: [UInt8]) throws(Malformed) -> CallEnvelope {
        do throws(JSONSyntax.Violation) {
            try JSONSyntax.check(message)
        } catch {
            throw Malformed(reason: "the message is no JSON object: \(error.reason)")
        }
        do {
            return try JSONDecoder().decode(CallEnvelope.self, from: Data(message))
        } catch let malformed as Malformed {
            throw malformed
        } catch {
            throw Malformed(reason: "the message is no JSON object")
        }
    }
}

private func hasParameters(_ container: KeyedDecodingContainer<AnyKey>) throws -> Bool {
    let key = AnyKey("parameters")
    return container.contains(key) ? try !container.decodeNil(forKey: key) : false
}

private func parameters(
    _ container: KeyedDecodingContainer<AnyKey>
) throws -> KeyedDecodingContainer<AnyKey> {
    try container.nestedContainer(keyedBy: AnyKey.self, forKey: AnyKey("parameters"))
}

/// The parameters of a received call, strictly.
struct CallParameters<Parameters: VarlinkParameters>: Decodable {
    struct Unknown: Error { let name: String }

    /// Nil where the call has none, which means no fields.
    let parameters: Parameters?

    init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: AnyKey.self)
        guard try hasParameters(container) else {
            parameters = nil
            return
        }
        let names = try Varlink.parameters(container).allKeys.map(\.stringValue)
        if let unknown = names.filter({ !Parameters.fields.contains($0) }).min() { throw Unknown(name: unknown) }
        parameters = try container.decode(Parameters.self, forKey: AnyKey("parameters"))
    }

    static func read(_ message: [UInt8]) throws(VarlinkError) -> Parameters {
        do {
            let decoder = JSONDecoder()
            if let parameters = try decoder.decode(Self.self, from: Data(message)).parameters { return parameters }
            return try decoder.decode(Parameters.self, from: Data("{}".utf8))
        } catch let unknown as Unknown {
            throw .invalidParameter(unknown.name)
        } catch let error as DecodingError {
            throw .invalidParameter(fieldName(error) ?? unreadableNumber(message) ?? "parameters")
        } catch {
            throw .invalidParameter("parameters")
        }
    }

    private static func fieldName(_ error: DecodingError) -> String? {
        let path: [any CodingKey] =
            switch error {
            case .keyNotFound(let key, let context): context.codingPath + [key]
            case .typeMismatch(_, let context), .valueNotFound(_, let context), .dataCorrupted(let context):
                context.codingPath
            @unknown default: []
            }
        return path.first { $0.stringValue != "parameters" }?.stringValue
    }

    /// The decoder does not say where a number stands that does not fit: the first field with one is looked for.
    private static func unreadableNumber(_ message: [UInt8]) -> String? {
        let search = try? JSONDecoder().decode(NumberSearch.self, from: Data(message))
        return Parameters.fields.first { search?.unreadable.contains($0) == true }
    }
}

/// The names of the parameters in which a number is no 64-bit integer.
private struct NumberSearch: Decodable {
    var unreadable: Set<String> = []

    private struct Value: Decodable {
        init(from decoder: any Decoder) throws {
            if var list = try? decoder.unkeyedContainer() {
                while !list.isAtEnd { _ = try list.decode(Value.self) }
            } else if let object = try? decoder.container(keyedBy: AnyKey.self) {
                for key in object.allKeys { _ = try object.decode(Value.self, forKey: key) }
            } else {
                let value = try decoder.singleValueContainer()
                if value.decodeNil() || (try? value.decode(Bool.self)) != nil { return }
                if (try? value.decode(String.self)) == nil { _ = try value.decode(Int.self) }
            }
        }
    }

    init(from decoder: any Decoder) throws {
        let container = try Varlink.parameters(decoder.container(keyedBy: AnyKey.self))
        for key in container.allKeys where (try? container.decode(Value.self, forKey: key)) == nil {
            unreadable.insert(key.stringValue)
        }
    }
}

/// The parameters of a received reply; unknown fields are left out, because services grow.
struct ReceivedParameters<Parameters: Decodable>: Decodable {
    let parameters: Parameters
}

/// What a received reply is, without its parameters.
struct ReplyHead: Decodable {
    var error: String?
    var continues: Bool?
}

/// A call to send.
struct SentCall<Parameters: Encodable>: Encodable {
    var method: String
    var parameters: Parameters
    var more: Bool?
}

/// A reply to send.
struct ReplyEnvelope<Parameters: Encodable>: Encodable {
    var parameters: Parameters
    var error: String?
    var continues: Bool?
}

/// A message in one line, without its end mark. Wire types hold nothing that JSON cannot say, such as a NaN; one that
/// does is a mistake in this program.
func encodeMessage(_ message: some Encodable) -> [UInt8] {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    do {
        return Array(try encoder.encode(message))
    } catch {
        fatalError("a message cannot be written as JSON: \(error)")
    }
}

/// Reads a received reply.
func readReply<Reply: Decodable>(
    _ message: [UInt8], as type: Reply.Type
) throws(VarlinkClientError) -> (Reply, continues: Bool) {
    let decoder = JSONDecoder()
    guard let head = try? decoder.decode(ReplyHead.self, from: Data(message)) else {
        throw .unintelligible(reason: "the reply is no JSON object of a reply")
    }
    if let name = head.error { throw .refused(VarlinkError(name: name, reply: message)) }
    do {
        let reply = try decoder.decode(ReceivedParameters<Reply>.self, from: Data(message)).parameters
        return (reply, head.continues == true)
    } catch {
        throw .unintelligible(reason: "the reply's parameters are not those expected: \(error)")
    }
}
