internal import LinuxSystem

/// A group's contract: what each call means in each state. ``Wiring`` knows how it is done.
struct GroupState: Sendable {
    private var phase = InterruptSnapshot.Phase.configured
    private var configurations: [InterruptConfiguration]
    private var isMasked: [Bool]
    /// How many vectors take part: all, or the MSI block that was enabled.
    private var active: Int
    private var wiring: Wiring

    init(_ wiring: Wiring) {
        self.wiring = wiring
        active = wiring.wires.count
        configurations = Array(repeating: InterruptConfiguration(), count: active)
        isMasked = Array(repeating: false, count: active)
    }

    private var type: InterruptType { wiring.type }
    private var remembered: [InterruptConfiguration] {
        active == count ? configurations : Array(configurations.prefix(active))
    }
    private var count: Int { wiring.wires.count }

    mutating func enable(_ given: [InterruptConfiguration]?) throws(InterruptError) {
        try requireLife()
        let wanted = try checked(given ?? remembered)
        if phase == .live {
            guard wanted == remembered else { throw .alreadyEnabled }
            return
        }
        // What is remembered may have been masked or unmasked since.
        let masks = given == nil ? isMasked : zip(wanted, isMasked).map { $0.startsMasked ?? $1 }
        if type == .legacy {
            try wiring.openLine(masked: masks.first ?? false)
        } else {
            try wiring.open(
                VectorSet(0..<wanted.count), masked: { masks[$0] }, holding: startingTarget,
                { wanted[$0].message.map(InterruptRoute.message) })
        }
        phase = .live
        active = wanted.count
        configurations.replaceSubrange(..<active, with: wanted)
        isMasked.replaceSubrange(..<active, with: masks.prefix(active))
    }

    mutating func disable() throws(InterruptError) {
        guard phase == .live else { return }
        try wiring.close()
        phase = .configured
        active = count
    }

    mutating func update(_ index: Int, _ given: InterruptConfiguration) throws(InterruptError) {
        try requireLife()
        try require(index)
        try checkKind(given)
        // An MSI block is one address and one data value.
        let changed = type == .msi ? 0..<active : index..<index + 1
        let updated = try type == .msi ? block(Array(repeating: given, count: active)) : [given]
        if phase == .live && type != .legacy {
            let delivered = VectorSet(in: changed) { !isMasked[$0] }
            try wiring.transaction { (wiring) throws(InterruptError) in
                try wiring.setRoutes(delivered) { updated[$0 - changed.lowerBound].message.map(InterruptRoute.message) }
            }
        }
        for (other, configuration) in zip(changed, updated) { configurations[other].message = configuration.message }
        if phase == .configured {
            configurations[index].startsMasked = given.startsMasked
            if let masked = given.startsMasked { isMasked[index] = masked }
        }
    }

    mutating func trigger(_ index: Int) throws(InterruptError) {
        try requireLife()
        try require(index)
        guard phase == .live, index < active else { throw .notEnabled }
        if isMasked[index] {
            wiring.wires[index].isPending = true
        } else {
            try wiring.raise(index)
        }
    }

    mutating func notifier(_ index: Int) throws(InterruptError) -> EventFD? {
        try requireLife()
        guard configurations.indices.contains(index) else { return nil }
        let notifier = try wiring.notifier(of: index)
        if type != .legacy && phase == .live && isMasked[index] {
            // From now on somebody else can write it, and a masked vector delivers nothing.
            try wiring.transaction { (wiring) throws(InterruptError) in
                try wiring.detach(VectorSet(index..<index + 1))
            }
        }
        wiring.wires[index].isHandedOut = true
        wiring.wires[index].mayHaveCounted = true
        return notifier
    }

    mutating func resampleNotifier() throws(InterruptError) -> EventFD? {
        try requireLife()
        return type == .legacy ? try wiring.resampleNotifier() : nil
    }

    mutating func mask(_ indices: Range<Int>, releasing: Bool) throws(InterruptError) {
        try requireLife()
        try require(indices)
        if phase == .live {
            let live = indices.clamped(to: 0..<active)
            let changed = VectorSet(in: live) { !isMasked[$0] }
            if type == .msix && releasing {
                try wiring.release(VectorSet(live))
            } else if !changed.isEmpty {
                if type == .legacy { try wiring.maskLine() } else { try wiring.hold(changed) }
            }
        }
        for index in indices { isMasked[index] = true }
    }

    mutating func unmask(_ indices: Range<Int>) throws(InterruptError) {
        try requireLife()
        try require(indices)
        if phase == .live {
            let changed = VectorSet(in: indices.clamped(to: 0..<active)) { isMasked[$0] }
            if !changed.isEmpty {
                if type == .legacy {
                    try wiring.unmaskLine()
                } else {
                    try wiring.open(changed) { configurations[$0].message.map(InterruptRoute.message) }
                }
            }
        }
        for index in indices { isMasked[index] = false }
    }

    func pendingState(_ index: Int) throws(InterruptError) -> Bool {
        try requireLife()
        guard phase == .live, (0..<active).contains(index), isMasked[index] else { return false }
        return type == .legacy ? try wiring.isLinePending() : wiring.isPending(index)
    }

    func snapshot() -> InterruptSnapshot {
        let vectors = wiring.wires.indices.map { index in
            InterruptVector(
                index: index, isWired: wiring.wires[index].target != .nothing, isMasked: isMasked[index],
                isPending: (try? pendingState(index)) ?? false)
        }
        return InterruptSnapshot(phase: phase, vectors: vectors)
    }

    mutating func destroy() {
        if phase == .destroyed { return }
        wiring.abandon()
        if type != .legacy { wiring.sink?.release(wiring.base..<wiring.base + count) }
        phase = .destroyed
    }

    /// What the host signals for a vector that starts masked. MSI provides for the whole block at once, so that
    /// something has to count; an MSI-X vector is left to the device, which holds what it raises.
    private var startingTarget: Wiring.Target {
        switch type {
        case .msi: wiring.swaps ? .holding : .notifier
        case .msix, .legacy: .nothing
        }
    }

    private func requireLife() throws(InterruptError) {
        if phase == .destroyed { throw .destroyed }
    }

    private func require(_ index: Int) throws(InterruptError) {
        guard index >= 0, index < count else { throw .noSuchVector(index: index, count: count) }
    }

    private func require(_ indices: Range<Int>) throws(InterruptError) {
        guard indices.lowerBound >= 0, indices.lowerBound <= count else {
            throw .noSuchVector(index: indices.lowerBound, count: count)
        }
        guard indices.upperBound <= count else { throw .noSuchVector(index: indices.upperBound - 1, count: count) }
    }

    private func checked(_ given: [InterruptConfiguration]) throws(InterruptError) -> [InterruptConfiguration] {
        let fits = type == .msi ? given.count.nonzeroBitCount == 1 && given.count <= count : given.count == count
        guard fits else { throw .wrongConfigurationCount(given: given.count, needed: count) }
        for configuration in given { try checkKind(configuration) }
        return type == .msi ? try block(given) : given
    }

    private func checkKind(_ configuration: InterruptConfiguration) throws(InterruptError) {
        let fits: Bool
        switch (type, wiring.sink == nil) {
        case (.legacy, _): fits = configuration.message == nil
        case (_, true): fits = true
        case (_, false): fits = configuration.message != nil
        }
        if !fits { throw .wrongConfigurationKind(type) }
    }

    /// The block's messages: one pair, in whose data the index replaces the low bits (PCI 3.0 section 6.8.1.6).
    private func block(_ given: [InterruptConfiguration]) throws(InterruptError) -> [InterruptConfiguration] {
        guard let pair = given.first?.message else {
            guard given.allSatisfy({ $0.message == nil }) else { throw .differentMessages }
            return given
        }
        let low = UInt32(truncatingIfNeeded: given.count &- 1)
        var result = given
        for index in given.indices {
            guard let message = given[index].message, message.address == pair.address,
                message.deviceID == pair.deviceID, message.data & ~low == pair.data & ~low
            else { throw .differentMessages }
            result[index].message?.data = pair.data & ~low | UInt32(truncatingIfNeeded: index)
        }
        return result
    }
}
