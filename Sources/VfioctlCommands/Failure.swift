internal import ArgumentParser
internal import LinuxSystem
internal import Varlink
internal import VfiodAPI

/// What a call that failed says to a person, and its exit status. The first line of what vfiod answered ends with the
/// error's name on the wire, in brackets.
struct Failure {
    let text: String
    let status: ExitCode

    init(_ error: VarlinkClientError, socket: String) {
        switch error {
        case .unreachable(let error):
            text =
                "vfiod cannot be reached at \(socket): \(error). "
                + "Is vfiod.socket started, and are you root or in the group vfiod?"
            status = ExitStatus.unreachable
        case .closed:
            text = "vfiod ended the connection before it answered; `journalctl -u vfiod` says why."
            status = ExitStatus.unreachable
        case .unintelligible(let reason):
            text = "the reply from \(socket) cannot be read: \(reason)."
            status = ExitStatus.failed
        case .refused(let error):
            var lines = Failure.text(error).split(separator: "\n").map(String.init)
            if let first = lines.first { lines[0] = "\(first) [\(error.name)]" }
            text = lines.joined(separator: "\n")
            status = ExitStatus.failed
        }
    }

    private struct Parameter: Decodable { let parameter: String }

    private static func text(_ error: VarlinkError) -> String {
        if let error = Wire.DeviceNotFound(error) {
            return "there is no device \(error.device); `vfioctl list` shows those there are."
        }
        if let text = identityText(error) { return text }
        if let error = Wire.Refused(error) { return text(error) }
        if let error = Wire.DeviceBusy(error) {
            return
                "\(error.device) is busy: \(error.operation) is at the step \(error.step). Try again when it has ended."
        }
        if let error = Wire.WrongState(error) {
            return "\(error.device) is \(error.state) and would have to be \(error.needed): \(error.message)"
        }
        if let error = Wire.KernelRefused(error) {
            return "\(error.device): the step \(error.step) failed, \(error.call) gave \(error.errno). \(error.hint)"
        }
        if let error = Wire.StillRunning(error) {
            return "\(error.operation) of \(error.device) goes on in the background at the step \(error.step): "
                + "\(error.cause). `vfioctl show \(error.device)` shows how far it is."
        }
        if let error = Wire.DeviceAskedBack(error) {
            return "\(error.operation) of \(error.device) ended early: the host asks for the device back, because "
                + "somebody unbinds its driver or removes it. `vfioctl restore \(error.device)` puts its settings back."
        }
        if let error = Wire.DeviceFailed(error) {
            return "\(error.operation) of \(error.device) ended early: the device reported an uncorrectable error. "
                + "The kernel log says which (journalctl -k -g AER)."
        }
        if let error = Wire.NoSuchResetMethod(error) {
            let available = error.available.isEmpty ? "none" : error.available.joined(separator: ", ")
            return "\(error.device) has no reset method \(error.method); those it has: \(available)."
        }
        if let error = Wire.DeviceQuarantined(error) {
            return "\(error.device) is quarantined from now on. \(error.reason) Another reset may cure it; "
                + "`vfioctl release \(error.device)` lifts the quarantine, `vfioctl restore \(error.device)` gives it back."
        }
        if let error = Wire.ConfigurationUnusable(error) {
            let place = error.line.map { "\(error.path):\($0)" } ?? error.path
            return "the configuration cannot be used, and nothing was changed. \(place): \(error.reason)"
        }
        if let error = Wire.MonitorEnded(error) {
            return error.reason == "stopping"
                ? "vfiod ends, so there is nothing more to tell."
                : "events were lost, because they were read too slowly. Begin again, to see the devices as they are now."
        }
        if let error = Wire.SelfTestUnavailable(error) {
            return "\(error.device) cannot be tested: \(error.message) \(error.hint)"
        }
        if error.name == "org.varlink.service.InvalidParameter", let wrong = error.parameters(as: Parameter.self) {
            let hint =
                wrong.parameter == "device"
                ? " A device is an address, a name, or parts such as id=8086:10d3; `vfioctl --help` has them all." : ""
            return "vfiod does not take this value of \(wrong.parameter).\(hint)"
        }
        return "vfiod answered with an error."
    }

    /// For an error that says which device is meant, or why none is.
    private static func identityText(_ error: VarlinkError) -> String? {
        if let error = Wire.IdentityMismatch(error) {
            return "\(error.device) should be \(error.address), but its \(error.part) is \(error.found) instead of "
                + "\(error.expected). Nothing was done."
        }
        if let error = Wire.IdentityUnknown(error) {
            return "whether \(error.device) is there is not known yet: the \(error.part) of "
                + "\(error.candidates.joined(separator: ", ")) has not been read. Try again, or name its address."
        }
        if let error = Wire.AmbiguousDevice(error) {
            return "\(error.device) may be any of \(error.candidates.joined(separator: ", ")). Name more of what it is."
        }
        if let error = Wire.DeviceIsPool(error) {
            return "\(error.device) is a pool; name one of its devices: \(error.members.joined(separator: ", "))."
        }
        if let error = Wire.PoolExhausted(error) {
            let reasons = error.members.map { "\n  \($0.member): \($0.reason)" }.joined()
            return "no device of the pool \(error.device) is free.\(reasons)"
        }
        return nil
    }

    private static func text(_ error: Wire.Refused) -> String {
        // The caller ends the line.
        let blockers = planText(Wire.Plan(steps: [], blockers: error.blockers)).dropLast()
        return "\(error.operation) of \(error.device) was refused.\n\(blockers)"
    }
}
