internal import LinuxSystem
internal import PCI

/// An operation on a device from its start to its end, and where it is.
final class RunningOperation: Sendable {
    private struct State {
        var step: String
        var since: Int
        var note: String?
        var stepsBegun = 0
        var progress: ProgressReport?
    }

    /// bind, restore, virtual-functions, reset, quarantine, release, selftest, attach, detach or close.
    let name: String
    private let stops: @Sendable (StopPoint) -> Void
    private let state: Lock<State>
    private let onStep: @Sendable (OperationState) -> Void

    /// `stops` is told of each stop point, on the thread that has come to it, which goes on when it returns. `onStep` is
    /// called as `progress` is, whether somebody waits for the operation or not.
    init(
        _ name: String, step: String, progress: ProgressReport?, stops: @escaping @Sendable (StopPoint) -> Void,
        onStep: @escaping @Sendable (OperationState) -> Void = { _ in }
    ) {
        (self.name, self.stops, self.onStep) = (name, stops, onStep)
        state = Lock(State(step: step, since: epochSeconds(), progress: progress))
    }

    /// Enters a step and says so.
    func begin(_ step: String, _ line: String) {
        state.withLock { state in
            state.step = step
            state.since = epochSeconds()
            state.note = nil
            state.stepsBegun += 1
            // Under the lock, as lines are promised in order and not after the end.
            state.progress?(line)
            onStep(snapshot(state))
        }
    }

    /// Does what a step changes, with a stop point on each side. Returns why it was refused, if it was.
    func perform<Failure: Error>(
        _ step: OperationStep, on device: PCIAddress, _ body: () throws(Failure) -> Void
    ) -> Failure? {
        stops(StopPoint(operation: name, step: step, moment: .before, device: device))
        defer { stops(StopPoint(operation: name, step: step, moment: .after, device: device)) }
        do throws(Failure) {
            try body()
            return nil
        } catch {
            return error
        }
    }

    /// Says a line.
    func report(_ line: String) {
        state.withLock { $0.progress?(line) }
    }

    /// Says what holds the step up, once as long as it stays the same.
    func note(_ text: String) {
        state.withLock { state in
            if state.note == text { return }
            state.note = text
            state.progress?(text)
            onStep(snapshot(state))
        }
    }

    /// After this no line is said any more.
    func endProgress() {
        state.withLock { $0.progress = nil }
    }

    /// How many steps were begun.
    var stepsBegun: Int { state.withLock { $0.stepsBegun } }

    var snapshot: OperationState {
        state.withLock { snapshot($0) }
    }

    private func snapshot(_ state: borrowing State) -> OperationState {
        OperationState(name: name, step: state.step, since: state.since, note: state.note)
    }
}
