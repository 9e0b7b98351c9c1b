internal import PCI
internal import Passthrough
internal import Varlink
internal import VfiodAPI

extension VarlinkMethod {
    /// io.vfiod.Reset.
    static func reset(_ host: any DeviceOperations, _ audit: AuditLog) -> VarlinkMethod {
        VarlinkMethod { (asked: Reset.Parameters, call) async throws(VarlinkError) -> Reset.Reply in
            let address = try await host.device(DeviceSelector(parameter: asked.device))
            let consent = try Set<Consent>(parameter: asked.consent)
            let dryRun = asked.dryRun ?? false
            let reset = { () async throws(PassthroughError) in
                try await host.reset(address, method: asked.method, consent: consent, dryRun: dryRun) { line in
                    call.send(Reset.Reply(plan: nil, progress: line))
                }
            }
            let plan =
                dryRun
                ? try await answering(reset) : try await audit.record("reset", address.description, by: call, reset)
            return Reset.Reply(plan: Wire.Plan(plan), progress: nil)
        }
    }
}
