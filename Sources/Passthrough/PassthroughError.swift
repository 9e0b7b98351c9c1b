public import LinuxSystem
public import PCI

/// Why an operation was not done. Unless a case says otherwise, the device is as it was before.
public enum PassthroughError: Error, Sendable {
    /// No such PCI function.
    case deviceNotFound(String)
    /// Blockers stand against it that were not, or cannot be, consented to.
    case refused(PCIAddress, operation: String, [Blocker])
    /// Another operation is running on it.
    case busy(PCIAddress, operation: String, step: String)
    /// The device is not in the state that the operation needs.
    case wrongState(PCIAddress, state: String, needed: String, message: String)
    /// The kernel refused a step. `hint` says what to do about it, and whether putting the device back failed too.
    case kernel(PCIAddress, step: String, KernelError, hint: String)
    /// A step did not end within its deadline and goes on in the background.
    case stillRunning(PCIAddress, operation: String, step: String, cause: String)
    /// The host asked for the device back: somebody unbinds its driver or removes it. The operation ended early and has
    /// closed the device.
    case askedBack(PCIAddress, operation: String)
    /// The device reported an uncorrectable error. The operation ended early and has closed the device.
    case deviceFailed(PCIAddress, operation: String)
    /// It has no reset method of this name, but those.
    case noSuchResetMethod(PCIAddress, method: String, available: [String])
    /// A reset failed half-way, or the device did not come back as it was. It is quarantined from now on.
    case quarantined(PCIAddress, reason: String)
    /// A self-test cannot be run here.
    case selfTestUnavailable(PCIAddress, message: String, hint: String)
    /// The device that is meant is there, but for one part of what it should be.
    case identityMismatch(String, PCIAddress, part: DeviceIdentity.Part, expected: String, found: String)
    /// Devices that may be meant have not told their serial number yet.
    case identityUnknown(String, [PCIAddress])
    /// Several devices may be meant.
    case ambiguous(String, [PCIAddress])
    /// No device of a pool is free.
    case poolExhausted(String, [PassedOver])

    /// One clause for the log.
    public var clause: String {
        switch self {
        case .deviceNotFound: "there is no such device"
        case .refused(_, _, let blockers): "refused: " + blockers.map(\.code.rawValue).joined(separator: ", ")
        case .busy(_, let operation, let step): "busy with \(operation), at \(step)"
        case .wrongState(_, _, _, let message): message
        case .kernel(_, let step, let error, _): "\(step) failed: \(error)"
        case .stillRunning(_, _, let step, let cause): "\(step) goes on in the background: \(cause)"
        case .askedBack: "ended early: the host asks for the device back"
        case .deviceFailed: "ended early: the device reported an uncorrectable error"
        case .noSuchResetMethod(_, let method, _): "it has no reset method \(method)"
        case .quarantined(let device, let reason): "\(device) is quarantined: \(reason)"
        case .selfTestUnavailable(_, let message, _): message
        case .identityMismatch(_, let address, let part, let expected, let found):
            "\(address) has \(part.rawValue) \(found) instead of \(expected)"
        case .identityUnknown(_, let candidates):
            "the serial number of \(candidates.map(\.description).joined(separator: ", ")) is not known yet"
        case .ambiguous(_, let candidates):
            "it may be any of \(candidates.map(\.description).joined(separator: ", "))"
        case .poolExhausted(_, let members):
            "none is free: " + members.map { "\($0.member): \($0.reason)" }.joined(separator: "; ")
        }
    }
}
