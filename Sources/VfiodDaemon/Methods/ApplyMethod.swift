internal import BootClaim
internal import PCI
internal import Passthrough
internal import Varlink
internal import VfiodAPI

extension VarlinkMethod {
    /// io.vfiod.Apply. `configuration` is read anew by each call.
    static func apply(
        _ host: any DeviceOperations, _ audit: AuditLog, _ configuration: Configuration
    ) -> VarlinkMethod {
        VarlinkMethod { (asked: Apply.Parameters, call) async throws(VarlinkError) -> Apply.Reply in
            let names = try configuration.readNames()
            let dryRun = asked.dryRun ?? false
            let applied = await host.apply(names, dryRun: dryRun) { line in
                call.send(Apply.Reply(results: nil, bootClaims: nil, progress: line))
            }
            if !dryRun {
                let failed = applied.filter { !$0.isSound }.count
                audit.note(
                    "apply", "the configuration", by: call,
                    failed == 0 ? "done" : "\(failed) of \(applied.count) failed")
            }
            return Apply.Reply(
                results: applied.map(Wire.AppliedProvision.init),
                bootClaims: names.bootClaims(applied).description, progress: nil)
        }
    }
}

extension Configuration {
    /// The names as they are in the file now.
    fileprivate func readNames() throws(VarlinkError) -> NamedDevices {
        guard let path else { return names }
        do throws(ConfigurationError) {
            return try Configuration(file: path, required: false).names
        } catch {
            throw Wire.ConfigurationUnusable(path: error.path, line: error.line, reason: error.reason).varlinkError
        }
    }
}

extension NamedDevices {
    /// What is kept from its drivers at the next boot. What the host needs by then was refused, and is not in it.
    fileprivate func bootClaims(_ applied: [AppliedProvision]) -> BootClaims {
        let sound = Set(applied.filter { $0.action == .bind && $0.isSound }.map(\.name))
        return BootClaims(
            devices.filter { $0.provision.isClaimedAtBoot && sound.contains($0.name) }
                .map { BootClaims.Claim(name: $0.name, identity: $0.identity) })
    }
}

extension Wire.AppliedProvision {
    fileprivate init(_ applied: AppliedProvision) {
        self.init(
            name: applied.name, device: applied.address?.description, action: applied.action.rawValue, outcome: "")
        switch applied.outcome {
        case .unchanged: outcome = "unchanged"
        case .done: outcome = "done"
        case .planned(let steps): (outcome, plan) = ("planned", Wire.Plan(steps))
        case .failed(let error):
            outcome = "failed"
            self.error = VarlinkError(error).name
            failure = error.clause
            if case .kernel(_, _, _, let hint) = error { failure = "\(error.clause). \(hint)" }
            if case .refused(_, _, let found) = error { blockers = found.map(Wire.Blocker.init) }
        }
    }
}
