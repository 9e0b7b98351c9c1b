internal import LinuxSystem
internal import PCI
internal import Passthrough
internal import Varlink
internal import VfiodAPI

extension VarlinkError {
    /// The domain's error as it goes over the wire.
    init(_ error: PassthroughError) {
        switch error {
        case .deviceNotFound(let device):
            self = Wire.DeviceNotFound(device: device).varlinkError
        case .refused(let device, let operation, let blockers):
            self =
                Wire.Refused(
                    device: device.description, operation: operation, blockers: blockers.map(Wire.Blocker.init)
                ).varlinkError
        case .busy(let device, let operation, let step):
            self = Wire.DeviceBusy(device: device.description, operation: operation, step: step).varlinkError
        case .wrongState(let device, let state, let needed, let message):
            self =
                Wire.WrongState(device: device.description, state: state, needed: needed, message: message)
                .varlinkError
        case .kernel(let device, let step, let error, let hint):
            self =
                Wire.KernelRefused(
                    device: device.description, step: step, call: error.callAndSubject, errno: error.errno.name,
                    hint: hint
                ).varlinkError
        case .stillRunning(let device, let operation, let step, let cause):
            self =
                Wire.StillRunning(device: device.description, operation: operation, step: step, cause: cause)
                .varlinkError
        case .askedBack(let device, let operation):
            self = Wire.DeviceAskedBack(device: device.description, operation: operation).varlinkError
        case .deviceFailed(let device, let operation):
            self = Wire.DeviceFailed(device: device.description, operation: operation).varlinkError
        case .noSuchResetMethod(let device, let method, let available):
            self =
                Wire.NoSuchResetMethod(device: device.description, method: method, available: available).varlinkError
        case .quarantined(let device, let reason):
            self = Wire.DeviceQuarantined(device: device.description, reason: reason).varlinkError
        case .selfTestUnavailable(let device, let message, let hint):
            self =
                Wire.SelfTestUnavailable(device: device.description, message: message, hint: hint).varlinkError
        }
    }
}

extension PassthroughError {
    /// One clause for the log.
    var clause: String {
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
        }
    }
}

extension KernelError {
    /// The call and what it was applied to, without the errno, which has a field of its own.
    var callAndSubject: String { subject.isEmpty ? call : "\(call) \(subject)" }
}

/// Runs a domain call for a handler.
func answering<Value>(
    _ body: () async throws(PassthroughError) -> Value
) async throws(VarlinkError) -> Value {
    do throws(PassthroughError) {
        return try await body()
    } catch {
        throw VarlinkError(error)
    }
}

extension PCIAddress {
    /// Reads the parameter `device`: `0000:00:10.0`, or without the domain where that is 0.
    init(parameter text: String) throws(VarlinkError) {
        guard let address = PCIAddress(text) ?? PCIAddress("0000:" + text) else {
            throw .invalidParameter("device")
        }
        self = address
    }
}
