internal import LinuxSystem

// The way back.
extension Wiring {
    /// Takes a step back as far as the kernel lets us. What it refuses is recorded as it then is.
    mutating func undo(_ step: Step) {
        switch step {
        case .routed(let previous):
            if (try? sink?.commit(previous)) != nil { note(previous) }
        case .attached(let run):
            for index in run.reversed() {
                guard let notifier = wires[index].notifier else { continue }
                if (try? sink?.detach(notifier, from: base + index)) != nil { wires[index].isAttached = false }
            }
        case .detached(let run):
            for index in run.reversed() {
                guard let notifier = wires[index].notifier else { continue }
                if (try? sink?.attach(notifier, to: base + index, resample: resample)) != nil {
                    wires[index].isAttached = true
                }
            }
        case .connected(let first, let targets):
            setTargets(first: first, targets)
            let run = first..<first + targets.count
            reconnect(run, descriptors(run))
            returnHeld(run)
        case .turnedOn:
            if (try? source.disable()) != nil { forgetTargets() }
        case .turnedOff(let count, let targets, let wasMasked):
            turnOnAgain(provided: count, targets, lineMasked: wasMasked)
        case .unmaskNotifier(let wasSet):
            if (try? source.setUnmaskNotifier(wasSet ? resample : nil)) != nil { isUnmaskNotifierSet = wasSet }
        case .lineMasked(let was):
            if (try? source.setLineMasked(was)) != nil { isLineMasked = was }
        case .replaced(let first, let before):
            for (index, wire) in zip(first..., before) {
                wires[index].notifier = wire.notifier
                wires[index].isHandedOut = wire.isHandedOut
                wires[index].mayHaveCounted = wire.mayHaveCounted
            }
        case .joined(let index, let notifier, let hadCounted):
            // What was taken from a notifier that is given back goes back with it, unless its irqfd would take it, or it
            // was delivered already.
            let isLeft = hadCounted && (type == .legacy || wires[index].isPending)
            if drop(notifier, of: index) && isLeft {
                wires[index].isPending = false
                try? notifier.signal()
            }
        case .parted(let index, let notifier):
            let attached: Void? = try? sink?.attach(notifier, to: base + index, resample: resample)
            wires[index].isAttached = attached != nil
        case .swapped(let first, let old):
            reconnect(first..<first + old.count, old)
        case .resampleReplaced(let old):
            resample = old
        case .madeNotifiers(let run):
            for index in run where !wires[index].isAttached && wires[index].target != .notifier {
                wires[index].notifier = nil
            }
        case .madeHoldings(let run):
            for index in run where wires[index].target != .holding { wires[index].holding = nil }
        }
    }

    /// As it was turned on: where vectors can be added the host provides for none that has no descriptor. If what was
    /// turned on since could not be turned off, it only changes over.
    private mutating func turnOnAgain(provided count: Int, _ targets: [Target], lineMasked: Bool) {
        setTargets(first: 0, targets)
        if let provided { return reconnect(0..<provided, descriptors(0..<provided)) }
        let isGrown = type == .msix && source.growsWhileEnabled
        let first = isGrown ? [nil] : descriptors(0..<count)
        guard (try? source.enable(first)) != nil else { return forgetTargets() }
        provided = isGrown ? 1 : count
        if isGrown {
            for run in VectorSet(in: 0..<targets.count, where: { targets[$0] != .nothing }).runs {
                reconnect(run, descriptors(run))
                provided = max(provided ?? 0, run.upperBound)
            }
        }
        guard type == .legacy else { return }
        // A line that was asserted meanwhile is only seen when a mask is lifted.
        isLineMasked = (try? source.setLineMasked(true)) != nil
        if !lineMasked && (try? source.setLineMasked(false)) != nil { isLineMasked = false }
    }

    /// What a private eventfd counted while the vector's own was on its way back goes where it belongs.
    mutating func returnHeld(_ run: Range<Int>) {
        for index in run where type != .legacy && wires[index].target == .notifier {
            guard let holding = wires[index].holding, holding.drain() > 0 else { continue }
            let isDelivered = wires[index].isAttached || sink == nil
            if !isDelivered || (try? raise(index)) == nil { wires[index].isPending = true }
        }
    }
}
