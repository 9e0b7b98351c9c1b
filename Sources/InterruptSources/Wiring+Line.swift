internal import LinuxSystem

// The level-triggered INTx line.
extension Wiring {
    /// Turns the line on. The guest's EOI unmasks it at the host, unless it starts masked.
    mutating func openLine(masked: Bool, _ giveWay: GiveWay = { _ in }) throws(InterruptError) {
        try transaction { (wiring) throws(InterruptError) in
            _ = try wiring.resampleNotifier()
            try wiring.setRoutes(wiring.all) { _ in .pin }
            if !masked { try wiring.attach(wiring.all) }
            try giveWay(.host)
            if masked {
                // The line is open from the moment it is turned on. What it raises before the mask holds stays out of
                // the guest's sight; it is no edge to remember, because unmask reads the line again.
                try wiring.connect(wiring.all) { _ in .holding }
                try wiring.setLineMasked(true)
            } else {
                try wiring.connect(wiring.all) { _ in .notifier }
                try wiring.setUnmaskNotifier(true)
                // A line that was asserted before it was turned on is only seen when the mask is lifted.
                try wiring.setLineMasked(true)
                try wiring.setLineMasked(false)
            }
            try giveWay(.machine)
            wiring.wires[0].isPending = false
        }
    }

    /// Masks the line at the host, and keeps what it may signal nevertheless from the guest: a guest that sets INTx
    /// disable in its Command register and clears it again lifts VFIO's mask, whoever had set that (R43). Also no
    /// handler that was running is on its way to the guest's eventfd after that.
    mutating func maskLine() throws(InterruptError) {
        try transaction { (wiring) throws(InterruptError) in
            try wiring.setUnmaskNotifier(false)
            try wiring.setLineMasked(true)
            try wiring.connect(wiring.all) { _ in .holding }
            // KVM raises a level from a worker, which may still have one to raise; without an irqfd it has none.
            try wiring.detach(wiring.all)
        }
    }

    /// Unmasks the line at the host, which signals again if the device still asserts it. While the guest's Command
    /// register disables INTx the host leaves the line masked, and does the same when that bit is cleared.
    mutating func unmaskLine() throws(InterruptError) {
        try transaction { (wiring) throws(InterruptError) in
            // Lifted by the guest or not: from here on only the unmask below signals.
            try wiring.setLineMasked(true)
            // An EOI from before the mask has nothing left to unmask.
            try wiring.resampleNotifier().drain()
            try wiring.attach(wiring.all)
            try wiring.connect(wiring.all) { _ in .notifier }
            try wiring.setUnmaskNotifier(true)
            let wasTriggered = wiring.wires[0].isPending
            let isAsserted = wasTriggered ? try wiring.source.isLineAsserted() : false
            try wiring.setLineMasked(false)
            if wasTriggered && !isAsserted { try wiring.raise(0) }
            wiring.wires[0].isPending = false
        }
        wires[0].holding = nil
    }

    /// Whether a masked line would signal if it were unmasked.
    func isLinePending() throws(InterruptError) -> Bool {
        if wires[0].isPending { return true }
        return try source.isLineAsserted()
    }

    /// Lets the resample eventfd unmask the line at the host, or not.
    mutating func setUnmaskNotifier(_ set: Bool) throws(InterruptError) {
        let wasSet = isUnmaskNotifierSet
        // The kernel refuses a second one (EBUSY), also if it is the same.
        if wasSet == set { return }
        try source.setUnmaskNotifier(set ? resample : nil)
        isUnmaskNotifierSet = set
        record(.unmaskNotifier(wasSet: wasSet))
    }

    mutating func setLineMasked(_ masked: Bool) throws(InterruptError) {
        let was = isLineMasked
        try source.setLineMasked(masked)
        isLineMasked = masked
        record(.lineMasked(was: was))
    }
}
