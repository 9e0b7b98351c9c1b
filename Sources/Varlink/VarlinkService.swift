internal import LinuxSystem

/// What is served: interfaces, and org.varlink.service which tells of them. No sockets.
public struct VarlinkService: Sendable {
    /// What a service says of itself (org.varlink.service.GetInfo).
    public struct Information: Codable, Hashable, Sendable {
        /// Who makes it.
        public var vendor: String
        /// What it is.
        public var product: String
        /// Its version.
        public var version: String
        /// Where to read on.
        public var url: String
        /// The names of all interfaces.
        public var interfaces: [String]

        /// Creates information; the service itself fills in its interfaces.
        public init(vendor: String, product: String, version: String, url: String, interfaces: [String] = []) {
            self.vendor = vendor
            self.product = product
            self.version = version
            self.url = url
            self.interfaces = interfaces
        }
    }

    /// What becomes of one message.
    enum Answer: Sendable {
        /// A reply.
        case reply(VarlinkReply)
        /// A oneway call was carried out.
        case nothing
        /// The message was no call: an error reply, after which the connection has no future.
        case malformed(reason: String, reply: VarlinkReply)
    }

    private struct Description: Codable { let description: String }
    private struct Reason: Encodable { let reason: String }
    private struct InterfaceName: VarlinkParameters {
        static let fields = ["interface"]
        let interface: String
    }

    private let interfaces: [String: VarlinkInterface]
    private let protocolError: String

    /// Serves `interfaces`. `protocolError` is the full name of the error, with one string `reason`, that answers a
    /// message that is no call.
    public init(
        _ information: Information, interfaces: [VarlinkInterface], protocolError: String
    ) throws(InterfaceDescription.ParseError) {
        self.protocolError = protocolError
        let own = try InterfaceDescription(parsing: serviceInterfaceText)
        let described = [own] + interfaces.map(\.description)
        var complete = information
        complete.interfaces = described.map(\.name)
        let texts = Dictionary(described.map { ($0.name, $0.text) }) { first, _ in first }
        let methods = [
            "GetInfo": VarlinkMethod { [complete] (_: NoParameters, _) in complete },
            "GetInterfaceDescription": VarlinkMethod { (asked: InterfaceName, _) throws(VarlinkError) in
                guard let text = texts[asked.interface] else { throw .interfaceNotFound(asked.interface) }
                return Description(description: text)
            },
        ]
        let all = [VarlinkInterface(own, methods: methods)] + interfaces
        self.interfaces = Dictionary(all.map { ($0.description.name, $0) }) { first, _ in first }
    }

    /// The error reply to bytes that are no message.
    func violation(_ reason: String) -> VarlinkReply {
        VarlinkReply(VarlinkError(protocolError, Reason(reason: reason)).reply)
    }

    /// Carries out one message. `path` takes replies before the last, in order.
    func answer(
        _ message: [UInt8], from peer: PeerCredentials, descriptors: ReceivedDescriptors? = nil, path: ReplyPath
    ) async -> Answer {
        let envelope: CallEnvelope
        do throws(CallEnvelope.Malformed) {
            envelope = try CallEnvelope.read(message)
        } catch {
            return .malformed(reason: error.reason, reply: violation(error.reason))
        }
        let call = VarlinkCall(
            peer: peer, method: envelope.method, wantsMore: envelope.more == true, descriptors: descriptors, path: path)
        let reply: VarlinkReply
        do throws(VarlinkError) {
            reply = try await method(envelope.method).answer(message, call)
        } catch {
            reply = VarlinkReply(error.reply)
        }
        return envelope.oneway == true ? .nothing : .reply(reply)
    }

    private func method(_ name: String) throws(VarlinkError) -> VarlinkMethod {
        guard let dot = name.lastIndex(of: ".") else { throw .methodNotFound(name) }
        let interfaceName = String(name[..<dot])
        guard let interface = interfaces[interfaceName] else { throw .interfaceNotFound(interfaceName) }
        let shortName = String(name[name.index(after: dot)...])
        guard interface.description.methods[shortName] != nil else { throw .methodNotFound(name) }
        guard let method = interface.methods[shortName] else { throw .methodNotImplemented(name) }
        return method
    }
}

/// The interface that every service has (https://varlink.org/Service).
let serviceInterfaceText = """
    # The Varlink Service Interface is provided by every varlink service. It
    # describes the service and the interfaces it implements.
    interface org.varlink.service

    # Get a list of all the interfaces a service provides and information
    # about the implementation.
    method GetInfo() -> (
      vendor: string,
      product: string,
      version: string,
      url: string,
      interfaces: []string
    )

    # Get the description of an interface that is implemented by this service.
    method GetInterfaceDescription(interface: string) -> (description: string)

    # The requested interface was not found.
    error InterfaceNotFound (interface: string)

    # The requested method was not found
    error MethodNotFound (method: string)

    # The interface defines the requested method, but the service does not
    # implement it.
    error MethodNotImplemented (method: string)

    # One of the passed parameters is invalid.
    error InvalidParameter (parameter: string)

    # Client is denied access
    error PermissionDenied ()

    # Method is expected to be called with 'more' set to true, but wasn't
    error ExpectedMore ()

    """
