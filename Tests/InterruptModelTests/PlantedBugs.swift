import InterruptSources
import LinuxSystem

/// A sink with a bug, to see that the model notices.
struct PlantedSink: InterruptSink {
    enum Bug: CaseIterable, Sendable {
        /// The second message of a table commit never gets its route.
        case losesRoute
        /// Routes are never dropped.
        case keepsRoutes
        /// An irqfd stays.
        case keepsIRQFD
        /// An irqfd is taken away from the number beside.
        case detachesNeighbour
        /// What the kernel refuses is not said.
        case hidesRefusals
        /// Numbers are never given back.
        case keepsNumbers
        /// A level is no level: EOI does not reach the host.
        case forgetsResample
        /// A notifier that is attached has counted once.
        case invents
    }

    let bug: Bug
    let sink: any InterruptSink

    func reserve(_ count: Int) throws(InterruptError) -> Int { try sink.reserve(count) }

    func release(_ numbers: Range<Int>) {
        if bug != .keepsNumbers { sink.release(numbers) }
    }

    func commit(_ changes: [RouteChange]) throws(InterruptError) {
        var changes = changes
        if bug == .losesRoute, changes.count > 1 { changes.remove(at: 1) }
        if bug == .keepsRoutes { changes.removeAll { $0.route == nil } }
        do { try sink.commit(changes) } catch { if bug != .hidesRefusals { throw error } }
    }

    func attach(_ notifier: EventFD, to number: Int, resample: EventFD?) throws(InterruptError) {
        if bug == .invents { try? notifier.signal() }
        try sink.attach(notifier, to: number, resample: bug == .forgetsResample ? nil : resample)
    }

    func detach(_ notifier: EventFD, from number: Int) throws(InterruptError) {
        if bug == .keepsIRQFD { return }
        try sink.detach(notifier, from: bug == .detachesNeighbour ? number + 1 : number)
    }
}
