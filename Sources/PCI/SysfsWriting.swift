public import LinuxSystem

/// The accesses to sysfs attributes that can sleep: for a driver's probe and remove, or for the device lock while an
/// unbind waits for a process that holds the device.
///
/// It exists twice: a helper process per access, and a fake in TestSupport that does what the kernel would. Both block
/// the caller, who is on a lane. What a write did is to be read afterwards; its result is a hint.
public protocol SysfsWriting: Sendable {
    /// Writes `value` in one write(2). Throws the kernel's errno.
    func write(_ value: String, to path: String) throws(KernelError)

    /// Reads an attribute whose reader takes the device lock, byte for byte but for the bytes that are not UTF-8.
    func read(_ path: String) throws(KernelError) -> String
}
