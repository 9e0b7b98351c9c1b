internal import LinuxSystem
internal import Logging
internal import PCI
internal import Passthrough
internal import Varlink

/// Writes down who changed what, and what came of it.
struct AuditLog: Sendable {
    let logger: Logger

    /// Runs a changing call and logs one line about it.
    func record<Value>(
        _ operation: String, _ device: PCIAddress, by call: VarlinkCall,
        _ body: () async throws(PassthroughError) -> Value
    ) async throws(VarlinkError) -> Value {
        do throws(PassthroughError) {
            let value = try await body()
            log(.notice, operation, device, call, "done")
            return value
        } catch {
            log(.warning, operation, device, call, error.clause)
            throw VarlinkError(error)
        }
    }

    private func log(
        _ level: Logger.Level, _ operation: String, _ device: PCIAddress, _ call: VarlinkCall, _ result: String
    ) {
        let peer = call.peer
        let who = "user \(peer.uid) (group \(peer.gid), process \(peer.pid))"
        logger.log(
            level: level, "\(operation) of \(device), asked for by \(who): \(result)",
            metadata: [
                "device": "\(device)", "operation": "\(operation)", "peer_uid": "\(peer.uid)",
                "peer_gid": "\(peer.gid)", "peer_pid": "\(peer.pid)",
            ])
    }
}
