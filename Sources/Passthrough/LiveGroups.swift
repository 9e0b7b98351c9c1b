public import InterruptSources
internal import LinuxSystem
public import PCI

/// The interrupt source groups that vfiod itself has live, and who can tell their state: a running self-test, later a
/// lease.
public final class LiveGroups: Sendable {
    /// Tells the state of every vector of a live group, now. Called from any thread; must not block for long.
    public typealias Report = @Sendable () -> [InterruptVectorState]

    private struct Key: Hashable {
        let address: PCIAddress
        let type: InterruptType
    }

    private let reports = Lock<[Key: Report]>([:])

    /// Creates an empty registry.
    public init() {}

    /// From now on `report` tells the state of the group.
    public func add(_ address: PCIAddress, _ type: InterruptType, _ report: @escaping Report) {
        reports.withLock { $0[Key(address: address, type: type)] = report }
    }

    /// The group is not live any more.
    public func remove(_ address: PCIAddress, _ type: InterruptType) {
        reports.withLock { $0[Key(address: address, type: type)] = nil }
    }

    func vectors(_ address: PCIAddress, _ type: InterruptType) -> [InterruptVectorState]? {
        let report = reports.withLock { $0[Key(address: address, type: type)] }
        return report?()
    }
}
