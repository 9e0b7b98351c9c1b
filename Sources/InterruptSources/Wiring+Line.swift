internal import LinuxSystem

// The level-triggered INTx line.
extension Wiring {
    /// Turns the line on. The guest's EOI unmasks it at the host, unless it starts masked.
    mutating func openLine(masked: Bool) throws(InterruptError) {
        try transaction { (wiring) throws(InterruptError) in
            _ = try wiring.resampleNotifier()
            try wiring.setRoutes(wiring.all) { _ in .pin }
            try wiring.attach(wiring.all)
            if masked {
                // The line is open from the moment it is turned on. What it raises before the mask holds stays out of
                // the guest's sight; it is no edge to remember, because unmask reads the line again.
                try wiring.connect(wiring.all) { _ in .holding }
                try wiring.setLineMasked(true)
                try wiring.connect(wiring.all) { _ in .notifier }
                wiring.wires[0].holding = nil
            } else {
                try wiring.connect(wiring.all) { _ in .notifier }
                try wiring.setUnmaskNotifier(true)
                // A line that was asserted before it was turned on is only seen when the mask is lifted.
                try wiring.setLineMasked(true)
                try wiring.setLineMasked(false)
            }
            wiring.wires[0].isPending = false
        }
    }

    /// Masks the line at the host.
    mutating func maskLine() throws(InterruptError) {
        try transaction { (wiring) throws(InterruptError) in
            try wiring.setUnmaskNotifier(false)
            try wiring.setLineMasked(true)
        }
    }

    /// Unmasks the line at the host, which signals again if the device still asserts it.
    mutating func unmaskLine() throws(InterruptError) {
        try transaction { (wiring) throws(InterruptError) in
            // An EOI from before the mask has nothing left to unmask.
            wiring.resample?.drain()
            try wiring.setUnmaskNotifier(true)
            let wasTriggered = wiring.wires[0].isPending
            let isAsserted = wasTriggered ? try wiring.source.isLineAsserted() : false
            try wiring.setLineMasked(false)
            if wasTriggered && !isAsserted { try wiring.raise(0) }
            wiring.wires[0].isPending = false
        }
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

    private mutating func setLineMasked(_ masked: Bool) throws(InterruptError) {
        let was = isLineMasked
        try source.setLineMasked(masked)
        isLineMasked = masked
        record(.lineMasked(was: was))
    }
}
