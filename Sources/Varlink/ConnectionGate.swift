public import LinuxSystem

/// Decides who may connect to a ``VarlinkServer``, and hears when a connection is over. Called on the server's event loop.
public protocol ConnectionGate: Sendable {
    /// Takes a connection, or says why not: with the error that the client is told.
    func admit(_ socket: borrowing UnixSocket, from peer: PeerCredentials) throws(VarlinkError)

    /// A connection that was admitted is over: nothing of it is heard any more, and what still runs is not answered.
    func ended()
}
