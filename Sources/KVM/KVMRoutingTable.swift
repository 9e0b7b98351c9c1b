internal import CLinux

/// A virtual machine's routing table in the kernel's own format (struct kvm_irq_routing), kept from one request to the
/// next, so that a change of one route touches the entry of that route and nothing else.
///
/// The order of entries means nothing to the kernel, and is not kept.
public struct KVMRoutingTable: Sendable {
    private static let headerLength = 2
    private static let entryLength = 12

    // The number of entries, flags, then twelve words an entry: what the request takes. It is as long as the table ever
    // was; the kernel does not look beyond the entries that there are.
    var words: [UInt32] = [0, 0]

    /// A table of these routes, which are not checked.
    public init(_ routes: some Collection<KVMRoute> = []) {
        words.reserveCapacity(KVMRoutingTable.headerLength + routes.count * KVMRoutingTable.entryLength)
        for route in routes { append(route) }
    }

    /// How many entries it has.
    public var count: Int { Int(words[0]) }

    /// The route of one entry, 0 to ``count`` - 1.
    public subscript(entry: Int) -> KVMRoute {
        get { KVMRoute(words, at: KVMRoutingTable.start(of: entry)) }
        set { newValue.store(in: &words, at: KVMRoutingTable.start(of: entry)) }
    }

    /// Adds an entry, which becomes the last.
    public mutating func append(_ route: KVMRoute) {
        let start = KVMRoutingTable.start(of: count)
        if start == words.count { words.append(contentsOf: KVMRoutingTable.emptyEntry) }
        route.store(in: &words, at: start)
        words[0] &+= 1
    }

    /// Removes an entry. The last one takes its place.
    public mutating func remove(at entry: Int) {
        let last = count - 1
        if entry != last { self[entry] = self[last] }
        words[0] &-= 1
    }

    private static let emptyEntry = [UInt32](repeating: 0, count: entryLength)

    private static func start(of entry: Int) -> Int { headerLength + entry * entryLength }
}

// struct kvm_irq_routing_entry: number, type, flags, padding, then eight words by type.
extension KVMRoute {
    fileprivate init(_ words: [UInt32], at start: Int) {
        gsi = words[start]
        if words[start + 1] == UInt32(KVM_IRQ_ROUTING_MSI) {
            target = .message(
                address: UInt64(words[start + 5]) << 32 | UInt64(words[start + 4]), data: words[start + 6],
                deviceID: words[start + 2] & UInt32(KVM_MSI_VALID_DEVID) == 0 ? nil : words[start + 7])
        } else {
            // Only routes of ours are in a table, so the chip is one of the three.
            target = .pin(Chip(rawValue: words[start + 4]) ?? .ioapic, words[start + 5])
        }
    }

    fileprivate func store(in words: inout [UInt32], at start: Int) {
        // The last four words and the padding are zero from the beginning.
        words[start] = gsi
        switch target {
        case .pin(let chip, let pin):
            words[start + 1] = UInt32(KVM_IRQ_ROUTING_IRQCHIP)
            words[start + 2] = 0
            words[start + 4] = chip.rawValue
            words[start + 5] = pin
            words[start + 6] = 0
            words[start + 7] = 0
        case .message(let address, let data, let deviceID):
            words[start + 1] = UInt32(KVM_IRQ_ROUTING_MSI)
            words[start + 2] = deviceID == nil ? 0 : UInt32(KVM_MSI_VALID_DEVID)
            words[start + 4] = UInt32(truncatingIfNeeded: address)
            words[start + 5] = UInt32(truncatingIfNeeded: address >> 32)
            words[start + 6] = data
            words[start + 7] = deviceID ?? 0
        }
    }
}
