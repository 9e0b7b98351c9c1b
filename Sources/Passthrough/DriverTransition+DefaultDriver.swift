internal import LinuxSystem
internal import PCI

// Devices that were claimed before any driver had them: what gives them back is that the kernel chooses.
extension DriverTransition {
    private static let uevent = "change"

    /// Records a device that vfio-pci has because it was claimed at boot. Nothing of it is changed.
    func adopt() -> (record: DeviceRecord?, error: PassthroughError?) {
        do throws(PassthroughError) {
            operation.begin(OperationStep.record.rawValue, "recording that \(address) was claimed at boot")
            var record = try newRecord(earlier: nil)
            record.before.driver = nil
            record.before.isForDefaultDriver = true
            record.before.driverOverride = "(null)\n"
            record.phase = .bound
            record.step = OperationStep.bound.rawValue
            try save(record, as: .record)
            return (record, nil)
        } catch {
            return (nil, error)
        }
    }

    /// Lets the kernel choose a driver. As the device was claimed before its driver was loaded, udev is asked to load it,
    /// which it does in its own time. That no driver comes is no failure: the host may have none.
    func returnToDefaultDriver(_ record: inout DeviceRecord) throws(PassthroughError) {
        guard try driver(.probe) == nil else { return }
        enter(.probe, &record, "asking the kernel for a driver")
        _ = write(address.description, to: sysfs.probePath, .probe)
        guard try driver(.probe) == nil else { return }
        enter(.uevent, &record, "having the driver loaded")
        let failure = write(DriverTransition.uevent, to: sysfs.path(of: address, "uevent"), .uevent)
        if let failure {
            throw refusal(.uevent, failure, hint: "Its driver is not loaded. Load it, then Restore again.")
        }
        let end = monotonicNanoseconds(after: root.driverDeadline)
        while try driver(.uevent) == nil && monotonicNanoseconds() < end { sleepBriefly() }
        if try driver(.uevent) == nil { operation.report("no driver came for \(address)") }
    }
}
