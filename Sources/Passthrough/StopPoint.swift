public import PCI

/// Right before or right after a step: where vfiod may be made to stop, to see what a crash there leaves behind.
///
/// It is written `bind:unbind:before@0000:00:11.0`. What a step is about to do is in the record before the first of its
/// two points.
public struct StopPoint: Hashable, Sendable, LosslessStringConvertible {
    /// On which side of the step.
    public enum Moment: String, CaseIterable, Sendable {
        /// It is announced, and nothing of it is done.
        case before
        /// It is done, or was refused.
        case after
    }

    /// bind, restore and the like; what recovery takes back or finishes has the name of what was interrupted.
    public let operation: String
    /// The step.
    public let step: OperationStep
    /// On which side of it.
    public let moment: Moment
    /// The device that the step is about, which may be a sibling of the operation's.
    public let device: PCIAddress

    /// Creates a point.
    public init(operation: String, step: OperationStep, moment: Moment, device: PCIAddress) {
        (self.operation, self.step, self.moment, self.device) = (operation, step, moment, device)
    }

    /// Reads what ``description`` writes, nil for anything else.
    public init?(_ text: String) {
        let halves = text.split(separator: "@", omittingEmptySubsequences: false)
        guard halves.count == 2, let device = PCIAddress(String(halves[1])) else { return nil }
        let parts = halves[0].split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 3, !parts[0].isEmpty, let step = OperationStep(rawValue: String(parts[1])),
            let moment = Moment(rawValue: String(parts[2]))
        else { return nil }
        self.init(operation: String(parts[0]), step: step, moment: moment, device: device)
    }

    /// As it is written.
    public var description: String { "\(operation):\(step.rawValue):\(moment.rawValue)@\(device)" }
}
