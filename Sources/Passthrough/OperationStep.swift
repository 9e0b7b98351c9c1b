/// A step of an operation that changes something, by the name it has in records, progress and errors.
public enum OperationStep: String, CaseIterable, Sendable {
    /// What the device is like is put on disk for the first time.
    case record
    /// driver_override is written.
    case driverOverride = "driver_override"
    /// Taken from a driver.
    case unbind
    /// Taken from a driver that the kernel chose though the device had another.
    case unbindOther = "unbind_other"
    /// The kernel is asked to find a driver.
    case probe
    /// udev is asked to load the driver that fits.
    case uevent
    /// Given to a driver by name.
    case bind
    /// The record says that the device is bound.
    case bound
    /// The record says that the device is being given back.
    case restoring
    /// sriov_drivers_autoprobe is written.
    case virtualFunctionProbing = "sriov_drivers_autoprobe"
    /// sriov_numvfs is written.
    case virtualFunctions = "sriov_numvfs"
    /// The record says that the virtual functions are there.
    case created
    /// reset_method is written.
    case resetMethod = "reset_method"
    /// VFIO opens the device, for a reset of its bus. That alone resets a function that can be.
    case open
    /// The device, or its bus, is reset.
    case reset
    /// reset_method is written as it was before the reset.
    case resetMethodBack = "put-back"
    /// enable is written.
    case enable
    /// power/control is written.
    case powerControl = "power/control"
    /// The record says whom the device is given to, or that it is given to nobody.
    case lease
    /// The record says why the device is to be used for nothing, or no more that it is not.
    case quarantine
    /// The record goes.
    case forget
}
