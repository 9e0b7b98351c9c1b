internal import InterruptSources
internal import LinuxSystem
internal import VFIO
internal import VFIOInterrupts

/// What VFIO tells of a device that vfiod has open, taken on the event loop from ``init(_:on:handler:)`` to
/// ``end()``, which comes before the device is closed.
final class DeviceWatch: Sendable {
    private struct Joined: Sendable {
        let event: VFIODeviceEvent
        let eventfd: EventFD
        let registration: EventLoop.Registration
    }

    private let interrupts: VFIOInterrupts
    private let loop: EventLoop
    private let joined = Lock<[Joined]>([])
    private let told = Lock<VFIODeviceEvent?>(nil)

    /// Calls `handler` on the loop's thread for each event that the device can tell of, every time it comes.
    init(
        _ interrupts: VFIOInterrupts, on loop: EventLoop, handler: @escaping @Sendable (VFIODeviceEvent) -> Void
    ) throws(InterruptError) {
        self.interrupts = interrupts
        self.loop = loop
        do throws(InterruptError) {
            for event in VFIODeviceEvent.allCases where try interrupts.tells(of: event) {
                let entry = try watch(event, handler)
                joined.withLock { $0.append(entry) }
                try interrupts.join(event, to: entry.eventfd)
            }
        } catch {
            end()
            throw error
        }
    }

    deinit { end() }

    /// What came first; nil while nothing has.
    var first: VFIODeviceEvent? { told.withLock { $0 } }

    /// Nothing is taken any more. The second time it does nothing.
    func end() {
        let entries = joined.withLock { joined in
            defer { joined = [] }
            return joined
        }
        for entry in entries {
            // Closing the device parts it in any case.
            try? interrupts.part(entry.event)
            loop.unwatch(entry.registration)
        }
    }

    private func watch(
        _ event: VFIODeviceEvent, _ handler: @escaping @Sendable (VFIODeviceEvent) -> Void
    ) throws(InterruptError) -> Joined {
        do throws(KernelError) {
            let eventfd = try EventFD()
            let registration = try loop.watch(eventfd.rawValue, for: .readable) { [weak self] _ in
                guard eventfd.drain() > 0 else { return }
                handler(event)
                self?.told.withLock { $0 = $0 ?? event }
            }
            return Joined(event: event, eventfd: eventfd, registration: registration)
        } catch {
            throw .kernel(error)
        }
    }
}
