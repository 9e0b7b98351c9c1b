internal import LinuxSystem
internal import Logging
internal import Varlink

/// Writes down what a server tells of.
func log(_ event: VarlinkServer.Event, _ logger: Logger, _ socket: String = "io.vfiod") {
    func metadata(_ peer: PeerCredentials) -> Logger.Metadata {
        ["peer_uid": "\(peer.uid)", "peer_gid": "\(peer.gid)", "peer_pid": "\(peer.pid)"]
    }
    func who(_ peer: PeerCredentials) -> String { "user \(peer.uid) (group \(peer.gid), process \(peer.pid))" }
    switch event {
    case .connected(let peer):
        logger.info("\(who(peer)) connected to \(socket)", metadata: metadata(peer))
    case .turnedAway(let peer, let reason):
        logger.warning("\(who(peer)) was turned away from \(socket): \(reason)", metadata: metadata(peer))
    case .badMessage(let peer, let reason):
        logger.warning("\(who(peer)) sent a bad message to \(socket): \(reason)", metadata: metadata(peer))
    case .dropped(let peer, let reason):
        logger.warning("the connection of \(who(peer)) to \(socket) was dropped: \(reason)", metadata: metadata(peer))
    case .notAccepting(let error):
        logger.error("no connection to \(socket) can be accepted for now: \(error)")
    }
}
