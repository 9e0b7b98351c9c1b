public import PCI

extension PassthroughHost {
    /// What an operation would do now, and what stands against it.
    public func plan(
        _ operation: PlannedOperation, _ address: PCIAddress
    ) async throws(PassthroughError) -> Plan {
        switch operation {
        case .bind: try await bind(address, consent: [], dryRun: true) { _ in }
        case .restore: try await restore(address, dryRun: true) { _ in }
        case .reset: try await reset(address, method: nil, consent: [], dryRun: true) { _ in }
        case .attach: try await attachPlan(address, nil)
        }
    }
}
