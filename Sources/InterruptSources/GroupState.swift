internal import LinuxSystem

/// A group's contract: what each call means in each state. ``Wiring`` knows how it is done.
struct GroupState: Sendable {
    private(set) var phase = InterruptSnapshot.Phase.configured
    private(set) var configurations: [InterruptConfiguration]
    private(set) var isMasked: [Bool]
    /// How many vectors take part: all, or the MSI block that was enabled last.
    private(set) var active: Int
    private(set) var wiring: Wiring

    init(_ wiring: Wiring) {
        self.wiring = wiring
        active = wiring.wires.count
        configurations = Array(repeating: InterruptConfiguration(), count: active)
        isMasked = Array(repeating: false, count: active)
    }

    var type: InterruptType { wiring.type }
    private var remembered: [InterruptConfiguration] {
        active == count ? configurations : Array(configurations.prefix(active))
    }
    var count: Int { wiring.wires.count }

    /// `giveWay` lets another group of the device, which is live, do its part.
    mutating func enable(
        _ given: [InterruptConfiguration]?, _ giveWay: Wiring.GiveWay = { _ in }
    ) throws(InterruptError) {
        try requireLife()
        // What is remembered may have been masked or unmasked since; what is given says how it is to be.
        let masks = given.map { zip($0, isMasked).map { $0.startsMasked ?? $1 } } ?? isMasked
        let wanted = try checked(given ?? remembered, masks)
        if phase == .live {
            guard wanted == remembered else { throw .alreadyEnabled }
            return
        }
        do throws(InterruptError) {
            if type == .legacy {
                try wiring.openLine(masked: masks.first ?? false, giveWay)
            } else {
                try wiring.open(
                    VectorSet(0..<wanted.count), masked: { masks[$0] }, giveWay,
                    { wanted[$0].message.map(InterruptRoute.message) })
            }
        } catch {
            // What came while it was half enabled is not for the next time.
            wiring.forgetPending()
            throw error
        }
        phase = .live
        active = wanted.count
        configurations.replaceSubrange(..<active, with: wanted)
        isMasked.replaceSubrange(..<active, with: masks.prefix(active))
    }

    mutating func enlarge(_ given: [InterruptConfiguration]) throws(InterruptError) {
        try requireLife()
        guard type == .msi else { throw .invalidCount(type, given.count) }
        guard phase == .live else { throw .notEnabled }
        guard given.count > active else { throw .wrongConfigurationCount(given: given.count, needed: count) }
        let masks = zip(given, isMasked).enumerated().map { index, pair in
            index < active ? pair.1 : pair.0.startsMasked ?? pair.1
        }
        let wanted = try checked(given, masks)
        do throws(InterruptError) {
            // Those that are open already stay so, with what is pending.
            try wiring.open(VectorSet(0..<wanted.count), masked: { masks[$0] }) {
                wanted[$0].message.map(InterruptRoute.message)
            }
        } catch {
            wiring.forgetPending(from: active)
            throw error
        }
        active = wanted.count
        configurations.replaceSubrange(..<active, with: wanted)
        isMasked.replaceSubrange(..<active, with: masks)
    }

    mutating func disable() throws(InterruptError) {
        // Also a configured group has something to give back where an enable failed and could not be undone either.
        guard phase == .live || phase == .configured && wiring.isStanding else { return }
        try wiring.close()
        phase = .configured
    }

    /// Becomes configured while another group of the device becomes live by `enabling`, both or neither. Nothing but
    /// that if it is not live.
    mutating func giveWay(
        to enabling: (Wiring.GiveWay) throws(InterruptError) -> Void
    ) throws(InterruptError) {
        guard phase == .live else { return try enabling { _ in } }
        try wiring.close(enabling)
        phase = .configured
    }

    mutating func update(first: Int, _ given: [InterruptConfiguration]) throws(InterruptError) {
        try requireLife()
        try require(first: first, count: given.count)
        for (index, configuration) in zip(first..., given) {
            let startsMasked = phase == .configured ? configuration.startsMasked : nil
            try checkKind(configuration, masked: startsMasked ?? isMasked[index])
        }
        if given.isEmpty { return }
        var changed = first..<first + given.count
        var messages = given.map(\.message)
        if type == .msi {
            let block = try MessageBlock(given, size: active)
            changed = 0..<active
            messages = changed.map(block.message)
        }
        if phase == .live && type != .legacy {
            let delivered = VectorSet(in: changed) { !isMasked[$0] }
            try wiring.transaction { (wiring) throws(InterruptError) in
                try wiring.setRoutes(delivered) { messages[$0 - changed.lowerBound].map(InterruptRoute.message) }
            }
        }
        for (index, message) in zip(changed, messages) { configurations[index].message = message }
        if phase == .live { return }
        for (index, configuration) in zip(first..., given) {
            configurations[index].startsMasked = configuration.startsMasked
            if let masked = configuration.startsMasked { isMasked[index] = masked }
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
        return try wiring.handOut(index, masked: phase == .live && isMasked[index])
    }

    mutating func setNotifiers(first: Int, _ given: [EventFD?]) throws(InterruptError) {
        try requireLife()
        try require(first: first, count: given.count)
        let isLive = phase == .live
        try wiring.replaceNotifiers(first: first, given) { isLive && isMasked[$0] }
    }

    mutating func resampleNotifier() throws(InterruptError) -> EventFD? {
        try requireLife()
        return type == .legacy ? try wiring.resampleNotifier() : nil
    }

    mutating func setResampleNotifier(_ given: EventFD?) throws(InterruptError) {
        try requireLife()
        guard type == .legacy else { throw .notLevelTriggered }
        try wiring.replaceResampleNotifier(given)
    }

    mutating func mask(_ indices: Range<Int>, releasing: Bool) throws(InterruptError) {
        try requireLife()
        try require(indices)
        try mask(VectorSet(indices), releasing: releasing)
    }

    /// Masks vectors that the group has.
    mutating func mask(_ vectors: VectorSet, releasing: Bool = false) throws(InterruptError) {
        if phase == .live {
            let changed = VectorSet(in: vectors) { $0 < active && !isMasked[$0] }
            if type == .msix && releasing {
                try wiring.release(vectors)
            } else if !changed.isEmpty {
                if type == .legacy { try wiring.maskLine() } else { try wiring.hold(changed) }
            }
        }
        for index in vectors.indices { isMasked[index] = true }
    }

    mutating func unmask(_ indices: Range<Int>) throws(InterruptError) {
        try requireLife()
        try require(indices)
        try unmask(VectorSet(indices))
    }

    /// Unmasks vectors that the group has.
    mutating func unmask(_ vectors: VectorSet) throws(InterruptError) {
        if phase == .live {
            let changed = VectorSet(in: vectors) { $0 < active && isMasked[$0] }
            if !changed.isEmpty {
                if type == .legacy {
                    try wiring.unmaskLine()
                } else {
                    for index in changed.indices { try checkKind(configurations[index], masked: false) }
                    try wiring.open(changed) { configurations[$0].message.map(InterruptRoute.message) }
                }
            }
        }
        for index in vectors.indices { isMasked[index] = false }
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
}
