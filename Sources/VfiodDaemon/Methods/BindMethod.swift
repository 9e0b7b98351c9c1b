internal import PCI
internal import Passthrough
internal import Varlink
internal import VfiodAPI

extension VarlinkMethod {
    /// io.vfiod.Bind.
    static func bind(_ host: any DeviceOperations, _ audit: AuditLog) -> VarlinkMethod {
        VarlinkMethod { (asked: Bind.Parameters, call) async throws(VarlinkError) -> Bind.Reply in
            let selector = try DeviceSelector(parameter: asked.device)
            let consent = try Set<Consent>(parameter: asked.consent)
            let dryRun = asked.dryRun ?? false
            let progress: ProgressReport = { line in
                call.send(Bind.Reply(device: nil, plan: nil, progress: line))
            }
            let target = try await answering { () async throws(PassthroughError) in
                try await host.target(of: selector)
            }
            let bind = { () async throws(PassthroughError) in
                switch target {
                case .device(let address):
                    PoolChoice(
                        device: address,
                        plan: try await host.bind(address, consent: consent, dryRun: dryRun, progress: progress))
                case .pool(let name, _):
                    try await host.bind(firstFreeOf: name, consent: consent, dryRun: dryRun, progress: progress)
                }
            }
            let bound =
                dryRun
                ? try await answering(bind)
                : try await audit.record("bind", target.name, by: call, device: \.device, bind)
            return Bind.Reply(device: bound.device.description, plan: Wire.Plan(bound.plan), progress: nil)
        }
    }
}

extension DeviceTarget {
    /// The device or the pool.
    fileprivate var name: String {
        switch self {
        case .device(let address): address.description
        case .pool(let name, _): name
        }
    }
}
