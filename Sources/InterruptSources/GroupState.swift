internal import LinuxSystem

/// A group's contract: what each call means in each state. ``Wiring`` knows how it is done.
struct GroupState: Sendable {
    private(set) var phase = InterruptSnapshot.Phase.configured
    private var configurations: [InterruptConfiguration]
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

    mutating func enable(_ given: [InterruptConfiguration]?) throws(InterruptError) {
        try requireLife()
        // What is remembered may have been masked or unmasked since; what is given says how it is to be.
        let masks = given.map { zip($0, isMasked).map { $0.startsMasked ?? $1 } } ?? isMasked
        let wanted = try checked(given ?? remembered, masks)
        if phase == .live {
            guard wanted == remembered else { throw .alreadyEnabled }
            return
        }
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
                    for index in changed.indices { try checkKind(configurations[index], masked: false) }
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
}
