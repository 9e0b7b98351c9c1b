internal import LinuxSystem
internal import Logging
internal import PCI
internal import SystemPackage

/// Follows the kernel's uevents, on a thread of its own, and keeps what they say of PCI functions until somebody takes
/// it. Events of one function are merged: what counts is what it is now.
final class UeventMonitor: Sendable {
    /// What happened since somebody last took it.
    struct News: Sendable {
        /// What happened to a function, merged.
        struct Events: Hashable, Sendable {
            /// It was removed; by now another one may be there.
            var wasRemoved = false
            /// The last event about its driver said that one has taken it.
            var isBound = false
        }

        /// In the order in which they were first heard of.
        fileprivate(set) var addresses: [PCIAddress] = []
        fileprivate(set) var events: [PCIAddress: Events] = [:]
        /// Slots came or went.
        fileprivate(set) var slotsChanged = false
        /// Events were lost: everything may have changed.
        fileprivate(set) var isIncomplete = false

        var isEmpty: Bool { addresses.isEmpty && !slotsChanged && !isIncomplete }

        fileprivate mutating func add(_ event: PCIUevent) {
            switch event {
            case .unrelated: return
            case .slots: slotsChanged = true
            case .function(let action, let address, let previous):
                if let previous { note(.remove, previous) }
                note(action, address)
            }
        }

        private mutating func note(_ action: PCIUevent.Action, _ address: PCIAddress) {
            if events[address] == nil { addresses.append(address) }
            var merged = events[address] ?? Events()
            switch action {
            case .remove: merged = Events(wasRemoved: true)
            case .bind: merged.isBound = true
            case .add, .unbind: merged.isBound = false
            case .change, .move, .online, .offline: break
            }
            events[address] = merged
        }
    }

    private struct State {
        var news = News()
        var announce: (@Sendable () -> Void)?
    }

    private let source: any UeventSource
    private let loop: EventLoop
    private let logger: Logger
    private let state = Lock(State())
    private let registration = Lock<EventLoop.Registration?>(nil)

    /// Follows `source` from now on. Throws EMFILE or EAGAIN at the limit of descriptors or threads.
    init(_ source: any UeventSource, logger: Logger) throws(KernelError) {
        (self.source, self.logger) = (source, logger)
        loop = try EventLoop(name: "uevents")
        do throws(KernelError) {
            let entered = try loop.watch(source.descriptor, for: .readable) { [weak self] _ in self?.receive() }
            registration.withLock { $0 = entered }
        } catch {
            loop.stop()
            throw error
        }
    }

    deinit {
        if let entered = registration.withLock({ $0 }) { loop.unwatch(entered) }
        loop.stop()
    }

    /// From now on calls `body`, on the monitor's thread, whenever there is news after there was none.
    func announce(to body: @escaping @Sendable () -> Void) {
        let isLate = state.withLock { state in
            state.announce = body
            return !state.news.isEmpty
        }
        if isLate { body() }
    }

    /// What happened since the last call, nil if nothing did.
    func take() -> News? {
        state.withLock { state in
            if state.news.isEmpty { return nil }
            defer { state.news = News() }
            return state.news
        }
    }

    private func receive() {
        var events: [PCIUevent] = []
        var isIncomplete = false
        var strange: (count: Int, example: String) = (0, "")
        // What is here after so many can be taken meanwhile, and the rest follows at once. But after a loss the kernel
        // loses more, and says so no more, until nothing waits (netlink_overrun): only then is it time to look.
        var budget = 256
        while budget > 0 || isIncomplete {
            budget -= 1
            do throws(KernelError) {
                guard let datagram = try source.receive() else { break }
                do throws(PCIUevent.Malformed) {
                    events.append(try UeventMonitor.event(datagram))
                } catch {
                    strange = (strange.count + 1, error.reason)
                }
            } catch {
                isIncomplete = true
                if error.errno == .noBufferSpace {
                    logger.notice("the kernel's events came faster than they were read; all devices are read again")
                    continue
                }
                logger.error("the kernel's events cannot be followed any more: \(error)")
                if let entered = registration.withLock({ $0.take() }) { loop.unwatch(entered) }
                break
            }
        }
        if strange.count > 0 {
            logger.warning("\(strange.count) messages on the uevent socket are ignored; the last: \(strange.example)")
        }
        add(events, isIncomplete: isIncomplete)
    }

    private static func event(_ datagram: UeventDatagram) throws(PCIUevent.Malformed) -> PCIUevent {
        let sender = datagram.sender
        guard sender.isKernel else {
            throw PCIUevent.Malformed(
                reason: "it is not from the kernel but from port \(sender.port), process "
                    + (sender.processID.map { "\($0)" } ?? "unknown"))
        }
        if datagram.isTruncated { throw PCIUevent.Malformed(reason: "its end is cut off") }
        return try PCIUevent(datagram.bytes)
    }

    private func add(_ events: [PCIUevent], isIncomplete: Bool) {
        let announce = state.withLock { state -> (@Sendable () -> Void)? in
            let wasEmpty = state.news.isEmpty
            for event in events { state.news.add(event) }
            if isIncomplete { state.news.isIncomplete = true }
            return wasEmpty && !state.news.isEmpty ? state.announce : nil
        }
        announce?()
    }
}
