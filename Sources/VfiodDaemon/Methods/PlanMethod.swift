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
            let address = try PCIAddress(parameter: asked.device)
            let consent = try Set<Consent>(parameter: asked.consent)
            let plan = try await answering { () async throws(PassthroughError) in
                try await host.plan(operation, address)
            }
            return PlanOperation.Reply(
                plan: Wire.Plan(plan), refusedBy: consent.unmet(plan.blockers, on: address).map(Wire.Blocker.init))
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
