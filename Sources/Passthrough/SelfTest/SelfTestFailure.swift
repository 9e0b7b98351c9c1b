import InterruptSources
import LinuxSystem
import SelfTestProtocol
import VFIOInterrupts

/// Why a self-test could not be carried out, as opposed to what it found.
struct SelfTestFailure: Error {
    /// What refused.
    enum Cause {
        case kernel(KernelError)
        case interrupts(InterruptError)
        case guest(GuestProtocolError)
        case unavailable(String)
        /// What the device told of while the test ran.
        case told(VFIODeviceEvent)
    }

    /// What was being done, for people.
    let step: String
    let cause: Cause
    let hint: String

    init(_ step: String, _ error: KernelError, hint: String = "") {
        (self.step, cause, self.hint) = (step, .kernel(error), hint)
    }

    init(_ step: String, _ error: InterruptError, hint: String = "") {
        if case .kernel(let refused) = error {
            (self.step, cause, self.hint) = (step, .kernel(refused), hint)
        } else {
            (self.step, cause, self.hint) = (step, .interrupts(error), hint)
        }
    }

    init(_ step: String, _ error: GuestProtocolError) {
        switch error {
        case .failed(let failure):
            self.step = "\(step): \(failure.step)"
            cause = .kernel(failure.kernelError)
            hint = failure.hint
        case .kernel(let refused):
            (self.step, cause, hint) = (step, .kernel(refused), "")
        default:
            (self.step, cause, hint) = (
                step, .guest(error), "try again; the kernel log says what KVM made of it (journalctl -k)"
            )
        }
    }

    init(told event: VFIODeviceEvent) {
        (step, cause, hint) = ("self-test", .told(event), "")
    }

    init(unavailable message: String, hint: String) {
        (step, cause, self.hint) = ("self-test", .unavailable(message), hint)
    }

    /// Runs `body`, naming the step in its error.
    static func wrap<Value>(
        _ step: String, _ body: () throws(KernelError) -> Value
    ) throws(SelfTestFailure) -> Value {
        do { return try body() } catch { throw SelfTestFailure(step, error) }
    }
}
