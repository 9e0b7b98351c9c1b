internal import LinuxSystem

// MSI and MSI-X: the steps that whole sets of vectors go through.
extension Wiring {
    /// Delivers the interrupts of these vectors, with these routes, and those that were pending. Turns the type on if
    /// it is off; `others` says what the host is to signal for the vectors that stay masked.
    mutating func open(
        _ routes: [Int: InterruptRoute?], others: [Int: Target] = [:]
    ) throws(InterruptError) {
        let indices = routes.keys.sorted()
        try transaction { (wiring) throws(InterruptError) in
            try wiring.setRoutes(routes)
            try wiring.attach(indices)
            var targets = others
            for index in indices { targets[index] = .notifier }
            try wiring.connect(targets)
            wiring.collectPending(indices)
            for index in indices where wiring.wires[index].isPending {
                try wiring.raise(index)
                wiring.wires[index].isPending = false
            }
        }
    }

    /// Ends delivery. What the device raises from now on is counted by an eventfd that nobody but us reads.
    mutating func hold(_ indices: [Int]) throws(InterruptError) {
        try transaction { (wiring) throws(InterruptError) in
            if wiring.swaps {
                try wiring.connect(indices.reduce(into: [:]) { $0[$1] = .holding })
                try wiring.detach(indices.filter { wiring.wires[$0].isHandedOut })
            } else {
                try wiring.detach(indices)
            }
        }
    }

    /// Ends delivery and gives back all that the vectors take: host interrupt, irqfd and route. MSI-X only: the device
    /// itself holds what it raises from now on (Pending Bit Array).
    mutating func release(_ indices: [Int]) throws(InterruptError) {
        try transaction { (wiring) throws(InterruptError) in
            try wiring.connect(indices.reduce(into: [:]) { $0[$1] = .nothing })
            try wiring.detach(indices)
            try wiring.setRoutes(indices.reduce(into: [:]) { $0.updateValue(nil, forKey: $1) })
        }
        collectPending(indices)
        for index in indices { wires[index].holding = nil }
    }

    /// Takes everything down and forgets what was pending.
    mutating func close() throws(InterruptError) {
        try transaction { (wiring) throws(InterruptError) in
            try wiring.setUnmaskNotifier(false)
            try wiring.turnOff()
            try wiring.detach(wiring.wires.indices)
            try wiring.dropRoutes()
        }
        forgetPending()
    }

    /// As ``close()``, but goes on where a step fails. For a group that nobody will ask again.
    mutating func abandon() {
        try? setUnmaskNotifier(false)
        try? turnOff()
        for index in wires.indices { try? detach(CollectionOfOne(index)) }
        try? dropRoutes()
        forgetPending()
    }

    /// Delivers one interrupt of a vector that is connected. An eventfd that somebody else holds is left to the kernel
    /// to signal (VFIO's loopback): its holder can make a writer block.
    func raise(_ index: Int) throws(InterruptError) {
        if sink != nil, !wires[index].isHandedOut, let notifier = wires[index].notifier {
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
        return sink != nil && !wire.isAttached && wire.notifier?.isSignalled == true
    }

    /// Turns what private eventfds counted into pending bits. The host must not signal them any more.
    private mutating func collectPending(_ indices: [Int]) {
        for index in indices where wires[index].target != .holding {
            if let holding = wires[index].holding, holding.drain() > 0 { wires[index].isPending = true }
        }
    }

    private mutating func dropRoutes() throws(InterruptError) {
        // A pin's route belongs to the VM, and other devices may share the pin.
        if source.type == .legacy { return }
        try setRoutes(wires.indices.reduce(into: [:]) { $0.updateValue(nil, forKey: $1) })
    }

    private mutating func forgetPending() {
        for index in wires.indices {
            wires[index].isPending = false
            wires[index].notifier?.drain()
            wires[index].holding = nil
        }
        resample?.drain()
    }
}
