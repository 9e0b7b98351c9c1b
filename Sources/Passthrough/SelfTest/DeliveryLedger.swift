/// Holds what was raised in one window of vectors against what the guest counted, and names every difference once.
///
/// The guest's counters come from memory that the guest writes: any number may stand there, at any time.
struct DeliveryLedger {
    /// The device's vectors in this window; slot i of the guest is vector `window.lowerBound + i`.
    let window: Range<Int>
    private(set) var fired = 0
    private(set) var delivered = 0
    private(set) var lost = 0
    private(set) var spurious = 0
    /// Arrivals beyond one of raises of which the device may have sent more.
    private(set) var repeated = 0
    private(set) var lostVectors: Set<Int> = []
    private(set) var spuriousVectors: Set<Int> = []
    /// By slot: the count at which everything raised so far has arrived.
    private var expected: [UInt32]

    /// Starts from the counts that the guest shows now.
    init(window: Range<Int>, counts: (Int) -> UInt32) {
        self.window = window
        expected = (0..<window.count).map(counts)
    }

    /// Notes a raise of `slot`.
    mutating func raise(_ slot: Int) {
        fired += 1
        if expected.indices.contains(slot) { expected[slot] &+= 1 }
    }

    /// Whether `count` says that the raise of `slot` has arrived, of which the device sent at most `messages`.
    func hasArrived(_ slot: Int, _ messages: Int = 1, count: UInt32) -> Bool {
        expected.indices.contains(slot) && count &- expected[slot] < UInt32(clamping: messages)
    }

    /// Closes the raise of `slot`, of which the device sent at most `messages`: it arrived, or time ran out. Then looks
    /// at every slot for arrivals that no raise accounts for.
    mutating func close(_ slot: Int, arrived: Bool, messages: Int = 1, counts: (Int) -> UInt32) {
        if arrived {
            delivered += 1
            let count = counts(slot)
            if hasArrived(slot, messages, count: count) {
                repeated += Int(count &- expected[slot])
                expected[slot] = count
            }
        } else {
            lost += 1
            lostVectors.insert(window.lowerBound + slot)
            if expected.indices.contains(slot) { expected[slot] &-= 1 }
        }
        audit(counts)
    }

    /// Looks at every slot for arrivals that no raise accounts for. Each is named once.
    mutating func audit(_ counts: (Int) -> UInt32) {
        for slot in expected.indices {
            let count = counts(slot)
            if count == expected[slot] { continue }
            spurious += Int(min(count &- expected[slot], UInt32(Int16.max)))
            spuriousVectors.insert(window.lowerBound + slot)
            expected[slot] = count
        }
    }

    /// Adds arrivals on guest vectors that belong to no slot.
    mutating func addStray(_ count: Int) {
        spurious += count
    }
}
