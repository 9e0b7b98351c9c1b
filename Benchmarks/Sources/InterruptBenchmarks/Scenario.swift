internal import InterruptSources

/// What is timed.
enum Operation: String {
    case create
    case createAndEnable = "create and enable"
    case enable
    case disable
    case update = "update one"
    case trigger
    case maskAndUnmask = "mask and unmask one"
    case bringUp = "bring-up by a guest"
}

/// One type and number of vectors, and the operations in the order in which a device sees them.
struct Scenario: Hashable, Sendable {
    let type: InterruptType
    let vectors: Int
    /// Routes in the table that are not of this device.
    let foreignRoutes: Int
    /// The device whose interrupts they are, or nil for a source that costs nothing.
    let device: String?

    /// How often the operations on one vector are done in one round.
    private static let repetitions = 8

    /// How many rounds give a median that stands: the more, the shorter one is.
    var rounds: Int {
        switch vectors {
        case ...8: 100
        case ...64: 40
        case ...512: 16
        default: 10
        }
    }

    /// Does everything once.
    func run(_ side: inout some BenchmarkSide, _ stopwatch: inout Stopwatch) throws {
        try stopwatch.time(.createAndEnable, &side) { side, stopwatch in
            try stopwatch.time(.create, &side) { side, _ in try side.create(type, count: vectors) }
            try side.enable()
        }
        for _ in 0..<Scenario.repetitions {
            if type == .msix { try stopwatch.time(.update, &side) { side, _ in try side.update(vectors - 1) } }
            try stopwatch.time(.maskAndUnmask, &side) { side, _ in
                try side.mask(0)
                try side.unmask(0)
            }
            // An event of a line that nobody ends leaves it asserted.
            if type != .legacy { try stopwatch.time(.trigger, &side) { side, _ in try side.trigger(0) } }
        }
        try side.disable()
        try stopwatch.time(.enable, &side) { side, _ in try side.enable() }
        try stopwatch.time(.disable, &side) { side, _ in try side.disable() }
        try side.destroy()
        if type == .msix {
            try stopwatch.time(.bringUp, &side) { side, _ in try side.bringUp(count: vectors) }
            try side.disable()
            try side.destroy()
        }
    }

    /// The most requests that vfiod may make of the kernel for an operation; nil where there is no promise.
    func allowedRequests(_ operation: Operation) -> Int? {
        let isReal = device != nil
        switch (operation, type) {
        case (.create, _), (.trigger, _): return 0
        // A table, the irqfds, and at VFIO all vectors at once.
        case (.createAndEnable, .msix), (.enable, .msix), (.createAndEnable, .msi), (.enable, .msi):
            return 1 + vectors + (isReal ? 1 : 0)
        case (.disable, .msix), (.disable, .msi): return 1 + vectors + (isReal ? 1 : 0)
        // An irqfd; at VFIO: on, the unmask eventfd, and masked and unmasked once to read the line again.
        case (.createAndEnable, .legacy), (.enable, .legacy): return 1 + (isReal ? 4 : 0)
        case (.disable, .legacy): return 1 + (isReal ? 2 : 0)
        case (.update, _): return 1
        case (.maskAndUnmask, .msix): return isReal ? 2 : 0
        case (.maskAndUnmask, .msi): return 2
        case (.maskAndUnmask, .legacy): return 2 + (isReal ? 7 : 0)
        // For each vector one table, one irqfd and its wiring.
        case (.bringUp, _): return vectors * (isReal ? 3 : 2) + (isReal ? 1 : 0)
        }
    }
}
