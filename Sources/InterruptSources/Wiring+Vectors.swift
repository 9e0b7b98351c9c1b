internal import LinuxSystem

// MSI and MSI-X: the steps that whole sets of vectors go through.
extension Wiring {
    /// Delivers the interrupts of these vectors, with these routes, and those that were pending. Turns the type on if
    /// it is off, and then also sees to those that stay masked.
    mutating func open(
        _ vectors: VectorSet, masked isMasked: (Int) -> Bool = { _ in false }, _ giveWay: GiveWay = { _ in },
        _ route: (Int) -> InterruptRoute?
    ) throws(InterruptError) {
        let delivered = VectorSet(in: vectors) { !isMasked($0) }
        try transaction { (wiring) throws(InterruptError) in
            try wiring.setRoutes(delivered, route)
            try wiring.attach(delivered)
            try giveWay(.host)
            let starting = delivered.count < vectors.count ? wiring.wires.indices.map(wiring.startingTarget) : []
            try wiring.connect(vectors) { isMasked($0) ? starting[$0] : .notifier }
            try giveWay(.machine)
            wiring.collectPending(delivered)
            for index in delivered.indices where wiring.wires[index].isPending {
                try wiring.raise(index)
                wiring.wires[index].isPending = false
            }
        }
    }

    /// Ends delivery. What the device raises from now on is counted by an eventfd that nobody but us reads.
    ///
    /// An MSI-X vector keeps route and irqfd, which a guest that masks often would else wait for. KVM raises a message
    /// while the eventfd is signalled, but for one whose destination its map of local APICs does not resolve, such as a
    /// broadcast: what a worker of KVM has of those when the host has changed over arrives just after.
    mutating func hold(_ vectors: VectorSet) throws(InterruptError) {
        try transaction { (wiring) throws(InterruptError) in
            try wiring.connect(VectorSet(in: vectors, where: { wiring.swaps($0) })) { _ in .holding }
            try wiring.detach(VectorSet(in: vectors) { wiring.type == .msi || wiring.wires[$0].isHandedOut })
        }
    }

    /// Ends delivery and gives back all that the vectors take: host interrupt, irqfd and route. MSI-X only: the device
    /// itself holds what it raises from now on (Pending Bit Array).
    mutating func release(_ vectors: VectorSet) throws(InterruptError) {
        try transaction { (wiring) throws(InterruptError) in
            try wiring.connect(vectors) { _ in .nothing }
            try wiring.detach(vectors)
            try wiring.setRoutes(vectors) { _ in nil }
        }
        collectPending(vectors)
        for index in vectors.indices { wires[index].holding = nil }
    }

    /// Takes everything down and forgets what was pending.
    mutating func close() throws(InterruptError) {
        try close { (giveWay) throws(InterruptError) in
            try giveWay(.host)
            try giveWay(.machine)
        }
    }

    /// As ``close()``, in two halves that `opening` calls for between its own steps.
    mutating func close(_ opening: (GiveWay) throws(InterruptError) -> Void) throws(InterruptError) {
        try transaction { (wiring) throws(InterruptError) in
            try opening { (half) throws(InterruptError) in
                switch half {
                case .host:
                    try wiring.setUnmaskNotifier(false)
                    try wiring.turnOff()
                case .machine:
                    try wiring.detach(wiring.all)
                    try wiring.dropRoutes()
                }
            }
        }
        forgetPending()
    }

    /// As ``close()``, but goes on where a step fails, and tries once more what was refused. For a group that nobody will
    /// ask again. An irqfd that stays nevertheless goes with the last descriptor of its eventfd.
    mutating func abandon() {
        try? setUnmaskNotifier(false)
        for _ in 0..<2 where isStanding {
            dropStrays()
            try? turnOff()
            for index in wires.indices { try? detach(VectorSet(index..<index + 1)) }
            try? dropRoutes()
        }
        forgetPending()
        for index in wires.indices { wires[index].notifier = nil }
        resample = nil
    }

    /// Delivers one interrupt of a vector that is connected. An eventfd that somebody else holds is left to the kernel
    /// to signal (VFIO's loopback): its holder can make a writer block. So is a line's: the kernel knows whether the
    /// guest's Command register disables it.
    func raise(_ index: Int) throws(InterruptError) {
        if hasSink, type != .legacy, !wires[index].isHandedOut, let notifier = wires[index].notifier {
            do { try notifier.signal() } catch { throw .kernel(error) }
        } else {
            try source.trigger(first: index, count: 1)
        }
    }

    /// Whether an interrupt of a masked vector waits, without taking it.
    func isPending(_ index: Int) -> Bool {
        let wire = wires[index]
        if wire.isPending || wire.holding?.isSignalled == true { return true }
        // A notifier counts for us while neither a guest nor another process takes what it counts.
        return hasSink && !wire.isAttached && wire.notifier?.isSignalled == true
    }

    /// Turns what private eventfds counted into pending bits. The host must not signal them any more.
    private mutating func collectPending(_ vectors: VectorSet) {
        for index in vectors.indices where wires[index].target != .holding {
            if let holding = wires[index].holding, holding.drain() > 0 { wires[index].isPending = true }
        }
    }

    private mutating func dropRoutes() throws(InterruptError) {
        // A pin's route belongs to the VM, and other devices may share the pin.
        if type == .legacy { return }
        try setRoutes(all) { _ in nil }
    }

    /// What was counted has nobody left to go to, but for the first vectors, before `first`.
    mutating func forgetPending(from first: Int = 0) {
        for index in wires.indices.dropFirst(first) {
            wires[index].isPending = false
            wires[index].holding = nil
            if wires[index].mayHaveCounted {
                wires[index].notifier?.drain()
                wires[index].mayHaveCounted = wires[index].isHandedOut
            }
        }
        resample?.drain()
    }
}
