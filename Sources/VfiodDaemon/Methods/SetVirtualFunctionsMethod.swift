internal import PCI
internal import Passthrough
internal import Varlink
internal import VfiodAPI

extension VarlinkMethod {
    /// io.vfiod.SetVirtualFunctions.
    static func setVirtualFunctions(_ host: any DeviceOperations, _ audit: AuditLog) -> VarlinkMethod {
        VarlinkMethod { (asked: SetVirtualFunctions.Parameters, call) async throws(VarlinkError) -> Restore.Reply in
            let address = try await host.device(DeviceSelector(parameter: asked.device))
            // NumVFs has 16 bits (PCI Express 9.3.3.7).
            guard let count = UInt16(exactly: asked.count) else { throw .invalidParameter("count") }
            let consent = try Set<Consent>(parameter: asked.consent)
            let dryRun = asked.dryRun ?? false
            let set = { () async throws(PassthroughError) in
                try await host.setVirtualFunctions(address, to: Int(count), consent: consent, dryRun: dryRun) { line in
                    call.send(Restore.Reply(plan: nil, progress: line))
                }
            }
            let plan =
                dryRun
                ? try await answering(set)
                : try await audit.record("virtual-functions", address.description, by: call, set)
            return Restore.Reply(plan: Wire.Plan(plan), progress: nil)
        }
    }
}
