public import LinuxSystem

/// vfiod's side of the self-test guest: asks, waits for the answer, and believes nothing that does not fit.
///
/// After an error other than ``GuestProtocolError/failed(_:)`` the connection is of no more use: end the process.
public struct GuestConnection: ~Copyable, Sendable {
    private let channel: GuestChannel
    private let timeout: Duration

    /// Takes over vfiod's end of the socket. Every answer must come within `timeout`.
    public init(_ socket: consuming UnixSocket, timeout: Duration = .seconds(30)) {
        channel = GuestChannel(socket)
        self.timeout = timeout
    }

    /// Makes the guest, with as many slots as `counters` has. Once, and first.
    public func setUp(
        _ delivery: GuestDelivery, counters: borrowing GuestCounters, fault: GuestFault? = nil
    ) throws(GuestProtocolError) {
        try ask(
            .setUp(delivery: delivery, slots: counters.slots, fault: fault), [counters.descriptor], expecting: .ready)
    }

    /// Joins the slots from `first` on to these notifiers, in as many packets as it takes. Where it fails, disconnect
    /// the range: a part of it may be joined.
    public func connect(first: Int = 0, _ notifiers: [EventFD]) throws(GuestProtocolError) {
        var done = 0
        while done < notifiers.count {
            let part = notifiers[done...].prefix(GuestChannel.maximumDescriptors)
            try ask(
                .connect(first: first + done, count: part.count), part.map(\.rawValue), expecting: .connected)
            done += part.count
        }
    }

    /// Joins slot 0 of a level-triggered guest: an event of `trigger` asserts the line until the guest's EOI, which
    /// signals `resample`.
    public func connectLevel(trigger: EventFD, resample: EventFD) throws(GuestProtocolError) {
        try ask(.connect(first: 0, count: 1), [trigger.rawValue, resample.rawValue], expecting: .connected)
    }

    /// Ends the joining of these slots; those not joined are no error.
    public func disconnect(first: Int = 0, count: Int) throws(GuestProtocolError) {
        try ask(.disconnect(first: first, count: count), [], expecting: .disconnected)
    }

    /// Tells the guest to end. The process goes by itself then.
    public func finish() throws(GuestProtocolError) {
        try channel.send(GuestRequest.finish)
    }

    private func ask(
        _ request: GuestRequest, _ descriptors: [CInt], expecting expected: GuestReply
    ) throws(GuestProtocolError) {
        try channel.send(request, descriptors: descriptors)
        let reply = try channel.receive(GuestReply.self, until: monotonicNanoseconds(after: timeout)).message
        if case .failed(let failure) = reply { throw .failed(failure) }
        guard reply == expected else { throw .unexpected(reply) }
    }
}
