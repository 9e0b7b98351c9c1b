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
        case .identityMismatch(let device, let address, let part, let expected, let found):
            self =
                Wire.IdentityMismatch(
                    device: device, address: address.description, part: part.rawValue, expected: expected, found: found
                ).varlinkError
        case .identityUnknown(let device, let candidates):
            self =
                Wire.IdentityUnknown(
                    device: device, part: DeviceIdentity.Part.serial.rawValue,
                    candidates: candidates.map(\.description)
                ).varlinkError
        case .ambiguous(let device, let candidates):
            self = Wire.AmbiguousDevice(device: device, candidates: candidates.map(\.description)).varlinkError
        case .poolExhausted(let pool, let members):
            self =
                Wire.PoolExhausted(
                    device: pool, members: members.map { Wire.PoolMember(member: $0.member, reason: $0.reason) }
                ).varlinkError
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

extension DeviceSelector {
    /// Reads the parameter `device`.
    init(parameter text: String) throws(VarlinkError) {
        guard let selector = DeviceSelector(text) else { throw .invalidParameter("device") }
        self = selector
    }
}

extension DeviceTarget {
    /// The one device; a pool is refused.
    var device: PCIAddress {
        get throws(VarlinkError) {
            switch self {
            case .device(let address): return address
            case .pool(let name, let members): throw Wire.DeviceIsPool(device: name, members: members).varlinkError
            }
        }
    }
}

extension DeviceOperations {
    /// The one device that a selector names.
    func device(_ selector: DeviceSelector) async throws(VarlinkError) -> PCIAddress {
        try await answering { () async throws(PassthroughError) in try await target(of: selector) }.device
    }
}
