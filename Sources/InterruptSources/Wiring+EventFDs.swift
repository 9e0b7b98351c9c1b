internal import LinuxSystem

// The eventfds of the vectors, made when they are first needed: most of a large table is never used.
extension Wiring {
    /// The notifier of a vector, made on first use.
    mutating func notifier(of index: Int) throws(InterruptError) -> EventFD {
        if let notifier = wires[index].notifier { return notifier }
        let notifier = try makeEventFD()
        wires[index].notifier = notifier
        record(.madeNotifiers(index..<index + 1))
        return notifier
    }

    /// The eventfd that a guest's EOI signals, made on first use.
    mutating func resampleNotifier() throws(InterruptError) -> EventFD {
        if let resample { return resample }
        let made = try makeEventFD()
        record(.resampleReplaced(nil))
        resample = made
        return made
    }

    mutating func makeDescriptor(_ index: Int, _ target: Target) throws(InterruptError) {
        switch target {
        case .nothing: break
        case .notifier: _ = try notifier(of: index)
        case .holding:
            if wires[index].holding != nil { return }
            wires[index].holding = try makeEventFD()
            record(.madeHoldings(index..<index + 1))
        }
    }

    func makeEventFD() throws(InterruptError) -> EventFD {
        do { return try newEventFD() } catch { throw .kernel(error) }
    }

    func descriptors(_ range: Range<Int>) -> [EventFD?] {
        wires[range].map { wire in
            switch wire.target {
            case .nothing: nil
            case .notifier: wire.notifier
            case .holding: wire.holding
            }
        }
    }
}
