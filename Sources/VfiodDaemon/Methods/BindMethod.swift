internal import PCI
internal import Passthrough
internal import Varlink
internal import VfiodAPI

extension VarlinkMethod {
    /// io.vfiod.Bind.
    static func bind(_ host: any DeviceOperations, _ audit: AuditLog) -> VarlinkMethod {
        VarlinkMethod { (asked: Bind.Parameters, call) async throws(VarlinkError) -> Bind.Reply in
            let address = try PCIAddress(parameter: asked.device)
            let consent = try Set<Consent>(parameter: asked.consent)
            let dryRun = asked.dryRun ?? false
            let bind = { () async throws(PassthroughError) in
                try await host.bind(address, consent: consent, dryRun: dryRun) { line in
                    call.send(Bind.Reply(plan: nil, progress: line))
                }
            }
            let plan = dryRun ? try await answering(bind) : try await audit.record("bind", address, by: call, bind)
            return Bind.Reply(plan: Wire.Plan(plan), progress: nil)
        }
    }
}
