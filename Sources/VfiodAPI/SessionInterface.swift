public import Varlink

/// The interface io.vfiod.lease, as `io.vfiod.lease.varlink` describes it. That file is the contract; the types of
/// ``Session`` are held against it by tests.
public enum SessionInterface {
    /// The interface's name.
    public static let name = "io.vfiod.lease"
    /// The full name of the error that answers what is no call.
    public static let protocolError = "io.vfiod.lease.ProtocolError"

    /// Reads the embedded description.
    public static func description() throws(InterfaceDescription.ParseError) -> InterfaceDescription {
        try InterfaceDescription(parsing: String(decoding: PackageResources.io_vfiod_lease_varlink, as: UTF8.self))
    }
}

/// A method of io.vfiod.lease.
public protocol SessionMethod: VfiodMethod {}

extension SessionMethod {
    /// io.vfiod.lease.
    public static var interface: String { SessionInterface.name }
}

/// An error of io.vfiod.lease.
public protocol SessionError: VfiodError {}

extension SessionError {
    /// io.vfiod.lease.
    public static var interface: String { SessionInterface.name }
}

/// The types of io.vfiod.lease. Their fields are documented in the description.
public enum Session {}
