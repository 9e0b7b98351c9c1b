internal import LinuxSystem
internal import Logging
internal import PCI
internal import Passthrough
internal import Varlink

/// Writes down who changed what, and what came of it.
struct AuditLog: Sendable {
    let logger: Logger

    /// Runs a changing call and logs one line about it. `name` is that of the device; where it is not known before the
    /// call has chosen one, that of its pool, and `device` tells the device.
    func record<Value>(
        _ operation: String, _ name: String, by call: VarlinkCall, device: ((Value) -> PCIAddress)? = nil,
        _ body: () async throws(PassthroughError) -> Value
    ) async throws(VarlinkError) -> Value {
        do throws(PassthroughError) {
            let value = try await body()
            let chosen = device.map { "\($0(value))" } ?? name
            log(.notice, operation, chosen, call, chosen == name ? "done" : "done, as the first free of \(name)")
            return value
        } catch {
            log(.warning, operation, name, call, error.clause)
            throw VarlinkError(error)
        }
    }

    /// Logs one line about a call that is about no one device.
    func note(_ operation: String, _ subject: String, by call: VarlinkCall, _ result: String) {
        log(.notice, operation, subject, call, result)
    }

    private func log(
        _ level: Logger.Level, _ operation: String, _ device: String, _ call: VarlinkCall, _ result: String
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
