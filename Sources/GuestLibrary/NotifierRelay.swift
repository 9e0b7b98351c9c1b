public import InterruptSources
public import LinuxSystem

/// Joins notifiers that were received from vfiod to interrupts of a virtual machine in this process.
///
/// Up: route, then irqfd. Down: irqfd, then route. A batch is one change of the routing table, and a batch that fails
/// leaves nothing behind. Joints are told apart by an index that their user chooses.
public final class NotifierRelay: Sendable {
    /// A notifier and the message that its events become.
    public struct Joint: Sendable {
        /// The eventfd.
        public var notifier: EventFD
        /// What its events become.
        public var message: InterruptMessage

        /// Creates a joint.
        public init(_ notifier: EventFD, _ message: InterruptMessage) {
            self.notifier = notifier
            self.message = message
        }
    }

    private struct Joined {
        let number: Int
        let notifier: EventFD
        // KVM signals it as long as the joint stands.
        let resample: EventFD?
    }

    private let sink: any InterruptSink
    private let joined = Lock<[Int: Joined]>([:])

    /// A relay into the machine behind `sink`.
    public init(into sink: any InterruptSink) {
        self.sink = sink
    }

    /// Joins notifiers as indices `first ..< first + joints.count`. Throws ``InterruptError/alreadyEnabled`` if one of
    /// these is joined, ``InterruptError/noSuchVector(index:count:)`` for indices that cannot be counted to.
    public func join(first: Int, _ joints: [Joint]) throws(InterruptError) {
        if joints.isEmpty { return }
        guard first <= Int.max - joints.count else { throw .noSuchVector(index: first, count: Int.max) }
        let indices = first..<first + joints.count
        try joined.withLock { joined throws(InterruptError) in
            guard indices.allSatisfy({ joined[$0] == nil }) else { throw .alreadyEnabled }
            let base = try sink.reserve(joints.count)
            let numbers = base..<base + joints.count
            let entries = zip(numbers, joints).map { Joined(number: $0, notifier: $1.notifier, resample: nil) }
            let routes = zip(numbers, joints).map { RouteChange($0, .message($1.message)) }
            do throws(InterruptError) {
                try raise(entries, routes)
            } catch {
                sink.release(numbers)
                throw error
            }
            for (index, entry) in zip(indices, entries) { joined[index] = entry }
        }
    }

    /// Joins one notifier to an IOAPIC pin as a level: an event asserts the pin until the guest's EOI, which signals
    /// `resample`.
    public func join(
        _ index: Int, pin: Int, notifier: EventFD, resample: EventFD
    ) throws(InterruptError) {
        try joined.withLock { joined throws(InterruptError) in
            guard joined[index] == nil else { throw .alreadyEnabled }
            let entry = Joined(number: pin, notifier: notifier, resample: resample)
            try raise([entry], [RouteChange(pin, .pin)])
            joined[index] = entry
        }
    }

    /// Ends the joints of these indices; those not joined are no error. No event of their notifiers is delivered after
    /// it returns. After an error all of them count as joined, and can be left again.
    public func leave(_ indices: Range<Int>) throws(InterruptError) {
        try joined.withLock { joined throws(InterruptError) in
            let leaving = joined.filter { indices.contains($0.key) }.sorted { $0.value.number < $1.value.number }
            for (_, entry) in leaving { try sink.detach(entry.notifier, from: entry.number) }
            // A pin's route belongs to the machine, and other devices may share the pin.
            let messages = leaving.filter { $0.value.resample == nil }.map(\.value.number)
            try sink.commit(messages.map { RouteChange($0, nil) })
            for number in messages { sink.release(number..<number + 1) }
            for (index, _) in leaving { joined[index] = nil }
        }
    }

    /// Routes, then irqfds; or neither.
    private func raise(
        _ entries: [Joined], _ routes: [RouteChange]
    ) throws(InterruptError) {
        try sink.commit(routes)
        for (position, entry) in entries.enumerated() {
            do {
                try sink.attach(entry.notifier, to: entry.number, resample: entry.resample)
            } catch {
                // What cannot be undone does no harm: the eventfds are closed by their owner, which ends their irqfds,
                // and numbers that keep a route are not given to anybody else.
                for attached in entries[..<position] {
                    try? sink.detach(attached.notifier, from: attached.number)
                }
                try? sink.commit(routes.filter { $0.route != .pin }.map { RouteChange($0.number, nil) })
                throw error
            }
        }
    }
}
