internal import KVM

/// The routes of a VM as the kernel has them: first those of others, then ours, of which each number has at most one.
struct RoutingTable: Sendable {
    private static let none = UInt16.max

    /// What the kernel is given.
    var entries: KVMRoutingTable
    /// By number: the entry of our route.
    private var entryOfNumber = Array(repeating: RoutingTable.none, count: KVMRoute.maximumCount)

    /// A table without routes of ours.
    init(foreign: [KVMRoute]) {
        entries = KVMRoutingTable(foreign)
    }

    /// Our route of a number, 0 to 4,095.
    subscript(number: Int) -> KVMRoute.Target? {
        get {
            let entry = entryOfNumber[number]
            return entry == RoutingTable.none ? nil : entries[Int(entry)].target
        }
        set {
            let entry = entryOfNumber[number]
            guard let newValue else {
                if entry != RoutingTable.none { remove(Int(entry), of: number) }
                return
            }
            let route = KVMRoute(gsi: UInt32(truncatingIfNeeded: number), newValue)
            if entry != RoutingTable.none {
                entries[Int(entry)] = route
            } else {
                entryOfNumber[number] = UInt16(truncatingIfNeeded: entries.count)
                entries.append(route)
            }
        }
    }

    /// The same routes of ours beside others of others.
    func replacing(foreign: [KVMRoute]) -> RoutingTable {
        var table = RoutingTable(foreign: foreign)
        for number in 0..<KVMRoute.maximumCount { table[number] = self[number] }
        return table
    }

    private mutating func remove(_ entry: Int, of number: Int) {
        entries.remove(at: entry)
        entryOfNumber[number] = RoutingTable.none
        // The last entry has moved into the gap. It is ours, because ours come last.
        if entry < entries.count {
            entryOfNumber[Int(entries[entry].gsi)] = UInt16(truncatingIfNeeded: entry)
        }
    }
}
