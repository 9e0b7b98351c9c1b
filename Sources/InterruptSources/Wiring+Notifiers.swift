internal import LinuxSystem

// Notifiers that somebody else has: handed out, or handed in.
//
// Whoever has an eventfd can write it and take its count. So it is no place to keep what is pending, and while its
// vector is masked no irqfd may stand on it.
extension Wiring {
    /// From now on somebody else has the notifier of this vector.
    mutating func handOut(_ index: Int, masked: Bool) throws(InterruptError) -> EventFD {
        let notifier = try notifier(of: index)
        if wires[index].isHandedOut { return notifier }
        if masked {
            try transaction { (wiring) throws(InterruptError) in try wiring.shield(VectorSet(index..<index + 1)) }
        }
        wires[index].isHandedOut = true
        wires[index].mayHaveCounted = true
        return notifier
    }

    /// Gives vectors from `first` these notifiers instead, nil for ones of our own, made when they are needed. What a
    /// new one has counted by then is one interrupt, as KVM takes it.
    mutating func replaceNotifiers(
        first: Int, _ given: [EventFD?], masked isMasked: (Int) -> Bool
    ) throws(InterruptError) {
        let indices = first..<first + given.count
        let changed = VectorSet(in: indices) { index in
            given[index - first].map { $0 !== wires[index].notifier } ?? wires[index].isHandedOut
        }
        try transaction { (wiring) throws(InterruptError) in
            try wiring.shield(VectorSet(in: changed, where: isMasked))
            let before = Array(wiring.wires[indices])
            wiring.record(.replaced(first: first, before))
            for index in changed.indices { try wiring.setNotifier(index, given[index - first]) }
            for run in VectorSet(in: changed, where: { wiring.wires[$0].target == .notifier }).runs {
                try wiring.swap(run, from: before[run.lowerBound - first..<run.upperBound - first].map(\.notifier))
            }
            for index in changed.indices where wiring.wires[index].isAttached {
                if let old = before[index - first].notifier { try wiring.part(index, old) }
            }
            for index in changed.indices where wiring.wires[index].isPending && !isMasked(index) {
                try wiring.raise(index)
                wiring.wires[index].isPending = false
            }
        }
    }

    /// Makes the guest's EOI signal this eventfd instead, nil for one of our own.
    mutating func replaceResampleNotifier(_ given: EventFD?) throws(InterruptError) {
        try transaction { (wiring) throws(InterruptError) in
            let isOpen = wiring.isUnmaskNotifierSet
            let wasAttached = wiring.wires.contains(where: \.isAttached)
            try wiring.setUnmaskNotifier(false)
            // An irqfd keeps the eventfd it was made with.
            try wiring.detach(wiring.all)
            wiring.record(.resampleReplaced(wiring.resample))
            wiring.resample = given
            guard isOpen else { return }
            _ = try wiring.resampleNotifier()
            try wiring.attach(wiring.all)
            try wiring.setUnmaskNotifier(true)
            // An EOI that found no irqfd was not heard, so the line is read again, which also signals what came
            // meanwhile.
            if wasAttached { try wiring.setLineMasked(false) }
            wiring.wires[0].isPending = false
        }
    }

    /// Makes masked vectors safe from whoever else has their notifier, or is about to have it.
    private mutating func shield(_ vectors: VectorSet) throws(InterruptError) {
        let counting = VectorSet(in: vectors) { type == .msi && wires[$0].target == .notifier }
        try connect(counting) { _ in .holding }
        try detach(vectors)
        // Without a VM of ours, what it has counted is on its way to the guest already.
        for index in vectors.indices where hasSink {
            if let notifier = wires[index].notifier, notifier.drain() > 0 { wires[index].isPending = true }
        }
    }

    /// The irqfd of the new notifier stands beside the old one's until the host has changed over.
    private mutating func setNotifier(_ index: Int, _ given: EventFD?) throws(InterruptError) {
        let isNeeded = wires[index].isAttached || wires[index].target == .notifier
        var notifier = given
        if notifier == nil && isNeeded { notifier = try makeEventFD() }
        if let sink, let notifier, wires[index].isAttached {
            let hasCounted = given != nil && notifier.drain() > 0
            do {
                try sink.attach(notifier, to: base + index, resample: resample)
            } catch {
                if hasCounted { try? notifier.signal() }
                throw error
            }
            record(.joined(index, notifier, hadCounted: hasCounted))
            if hasCounted && type != .legacy { wires[index].isPending = true }
        }
        wires[index].notifier = notifier
        wires[index].isHandedOut = given != nil
        wires[index].mayHaveCounted = given != nil || isNeeded
    }

    private mutating func part(_ index: Int, _ notifier: EventFD) throws(InterruptError) {
        try sink?.detach(notifier, from: base + index)
        record(.parted(index, notifier))
    }

    private mutating func swap(_ run: Range<Int>, from old: [EventFD?]) throws(InterruptError) {
        do {
            try source.connect(first: run.lowerBound, descriptors(run))
        } catch {
            reconnect(run, old)
            throw error
        }
        record(.swapped(first: run.lowerBound, old))
    }
}
