internal import PCI
internal import Passthrough
internal import Varlink
internal import VfiodAPI

extension VarlinkMethod {
    /// io.vfiod.Plan.
    static func plan(_ host: any DeviceOperations) -> VarlinkMethod {
        VarlinkMethod { (asked: PlanOperation.Parameters, _) async throws(VarlinkError) -> PlanOperation.Reply in
            guard let operation = PlannedOperation(rawValue: asked.operation) else {
                throw .invalidParameter("operation")
            }
            let selector = try DeviceSelector(parameter: asked.device)
            let consent = try Set<Consent>(parameter: asked.consent)
            let target = try await answering { () async throws(PassthroughError) in
                try await host.target(of: selector)
            }
            let planned: PoolChoice
            if operation == .bind, case .pool(let name, _) = target {
                planned = try await answering { () async throws(PassthroughError) in
                    try await host.bind(firstFreeOf: name, consent: consent, dryRun: true) { _ in }
                }
            } else {
                let address = try target.device
                planned = try await answering { () async throws(PassthroughError) in
                    PoolChoice(device: address, plan: try await host.plan(operation, address))
                }
            }
            return PlanOperation.Reply(
                device: planned.device.description, plan: Wire.Plan(planned.plan),
                refusedBy: consent.unmet(planned.plan.blockers, on: planned.device).map(Wire.Blocker.init))
        }
    }
}

extension Set where Element == Consent {
    /// Reads the parameter `consent`: each must be a consent that there is.
    init(parameter texts: [String]?) throws(VarlinkError) {
        var found: Set<Consent> = []
        for text in texts ?? [] {
            guard let consent = Consent(text) else { throw .invalidParameter("consent") }
            found.insert(consent)
        }
        self = found
    }
}
