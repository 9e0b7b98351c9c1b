public import Varlink

/// The interface io.vfiod as its description file has it. The file is the contract; the types here follow it.
public enum VfiodInterface {
    /// Its name.
    public static let name = "io.vfiod"
    /// The version of this package, which daemon and command line share.
    public static let packageVersion = "0.1.0"
    /// Where the daemon listens unless it is told otherwise.
    public static let defaultSocketPath = "/run/vfiod/io.vfiod"
    /// The full name of the error that answers what is no call.
    public static let protocolError = "io.vfiod.ProtocolError"

    /// Reads the embedded description.
    public static func description() throws(InterfaceDescription.ParseError) -> InterfaceDescription {
        try InterfaceDescription(parsing: String(decoding: PackageResources.io_vfiod_varlink, as: UTF8.self))
    }
}

/// A method of io.vfiod.
public protocol VfiodMethod: SendableMetatype {
    /// What a call carries.
    associatedtype Parameters: VarlinkParameters
    /// What a reply carries.
    associatedtype Reply: Codable & Sendable
    /// The name without the interface.
    static var name: String { get }
    /// The interface.
    static var interface: String { get }
}

extension VfiodMethod {
    /// io.vfiod.
    public static var interface: String { VfiodInterface.name }
    /// The name with the interface.
    public static var fullName: String { "\(interface).\(name)" }
}

/// An error of io.vfiod: its parameters.
public protocol VfiodError: Codable, Sendable {
    /// The name without the interface.
    static var name: String { get }
    /// The interface.
    static var interface: String { get }
}

extension VfiodError {
    /// io.vfiod.
    public static var interface: String { VfiodInterface.name }
    /// The name with the interface.
    public static var fullName: String { "\(interface).\(name)" }

    /// The error as it goes over the wire.
    public var varlinkError: VarlinkError { VarlinkError(Self.fullName, self) }

    /// The error of this type in a received one, nil if it is another.
    public init?(_ error: VarlinkError) {
        guard error.name == Self.fullName, let value = error.parameters(as: Self.self) else { return nil }
        self = value
    }
}

/// The types of io.vfiod. Their fields are documented in the description.
public enum Wire {}
