internal import InterruptSources
internal import LinuxSystem
internal import PCI

/// The state of a device's interrupt source groups: what vfiod has live, and what the host has connected. Blocks.
struct InterruptStates: Sendable {
    let root: HostRoot
    let liveGroups: LiveGroups

    func groups(of address: PCIAddress, _ counts: InterruptCounts) -> [InterruptGroupState] {
        let table = InterruptTable((try? readText(root.proc("interrupts"), limit: 1 << 26)) ?? "")
        let rows = table.rows.filter { $0.address == address }
        return InterruptType.allCases.map { type in
            let count = counts[type]
            let connected = rows.filter { $0.type == type }
            var byIndex = Dictionary(connected.map { ($0.index, $0) }, uniquingKeysWith: { first, _ in first })
            if var vectors = liveGroups.vectors(address, type) {
                for position in vectors.indices {
                    let row = byIndex.removeValue(forKey: vectors[position].index)
                    vectors[position].hostInterrupt = row?.interrupt
                    vectors[position].hostCount = row?.count
                }
                return InterruptGroupState(type: type, count: count, state: "live", vectors: vectors)
            }
            if connected.isEmpty {
                return InterruptGroupState(
                    type: type, count: count, state: count == 0 ? "absent" : "configured", vectors: [])
            }
            // Somebody else's group: masks and pending bits are known to its owner only.
            let vectors = (0..<max(count, (byIndex.keys.max() ?? 0) + 1)).map { index in
                InterruptVectorState(
                    index: index, wired: byIndex[index] != nil, masked: false, pending: false,
                    hostInterrupt: byIndex[index]?.interrupt, hostCount: byIndex[index]?.count)
            }
            return InterruptGroupState(type: type, count: count, state: "live", vectors: vectors)
        }
    }
}

extension InterruptCounts {
    subscript(_ type: InterruptType) -> Int {
        switch type {
        case .legacy: legacy
        case .msi: msi
        case .msix: msix
        }
    }
}
