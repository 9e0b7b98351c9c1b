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
}
