internal import PCI
internal import Passthrough
internal import Varlink
internal import VfiodAPI

extension VarlinkMethod {
    /// io.vfiod.Restore.
    static func restore(_ host: any DeviceOperations, _ audit: AuditLog) -> VarlinkMethod {
        VarlinkMethod { (asked: Restore.Parameters, call) async throws(VarlinkError) -> Restore.Reply in
            let address = try await host.device(DeviceSelector(parameter: asked.device))
            let dryRun = asked.dryRun ?? false
            let restore = { () async throws(PassthroughError) in
                try await host.restore(address, dryRun: dryRun) { line in
                    call.send(Restore.Reply(plan: nil, progress: line))
                }
            }
            let plan =
                dryRun
                ? try await answering(restore)
                : try await audit.record("restore", address.description, by: call, restore)
            return Restore.Reply(plan: Wire.Plan(plan), progress: nil)
        }
    }
}
