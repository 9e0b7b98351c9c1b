internal import FoundationEssentials

/// An error reply: a name within an interface, and parameters that go with it.
public struct VarlinkError: Error, Sendable {
    /// The full name, such as `org.varlink.service.InvalidParameter`.
    public let name: String
    /// The reply as it stands on the wire, without its end mark.
    let reply: [UInt8]

    /// Creates an error with `parameters`, which must be encoded as a JSON object.
    public init(_ name: String, _ parameters: some Encodable) {
        self.name = name
        reply = encodeMessage(ReplyEnvelope(parameters: parameters, error: name))
    }

    /// Takes an error out of a received reply.
    init(name: String, reply: [UInt8]) {
        self.name = name
        self.reply = reply
    }

    /// The parameters, nil if they are not of the form asked for.
    public func parameters<Parameters: Decodable>(as type: Parameters.Type) -> Parameters? {
        try? JSONDecoder().decode(ReceivedParameters<Parameters>.self, from: Data(reply)).parameters
    }
}

extension VarlinkError {
    private struct InterfaceParameter: Encodable { let interface: String }
    private struct MethodParameter: Encodable { let method: String }
    private struct ParameterParameter: Encodable { let parameter: String }

    /// The interface is not served here.
    public static func interfaceNotFound(_ interface: String) -> VarlinkError {
        VarlinkError("org.varlink.service.InterfaceNotFound", InterfaceParameter(interface: interface))
    }

    /// The interface has no such method.
    public static func methodNotFound(_ method: String) -> VarlinkError {
        VarlinkError("org.varlink.service.MethodNotFound", MethodParameter(method: method))
    }

    /// The interface has the method, but this service does not do it.
    public static func methodNotImplemented(_ method: String) -> VarlinkError {
        VarlinkError("org.varlink.service.MethodNotImplemented", MethodParameter(method: method))
    }

    /// The method only streams, and the caller did not ask for more.
    public static let expectedMore = VarlinkError("org.varlink.service.ExpectedMore", NoParameters())

    /// A parameter is missing, unknown, of the wrong type or out of its range.
    public static func invalidParameter(_ parameter: String) -> VarlinkError {
        VarlinkError("org.varlink.service.InvalidParameter", ParameterParameter(parameter: parameter))
    }
}
