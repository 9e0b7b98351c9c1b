internal import LinuxSystem
internal import PCI
internal import SystemPackage

// SR-IOV. The host's drivers are kept from new virtual functions from before they come until they go: a driver that is
// loaded later, by udev for one, would take those that nobody has.
extension DriverTransition {
    private static let count = "sriov_numvfs"
    private static let probing = "sriov_drivers_autoprobe"

    /// Makes `count` virtual functions in place of those that there are. On failure the device is put back; the record
    /// that remains then, if any, says that this failed too.
    func makeVirtualFunctions(_ count: Int) -> (record: DeviceRecord?, error: PassthroughError?) {
        var record: DeviceRecord
        do throws(PassthroughError) {
            operation.begin("record", "recording what \(address) is like")
            record = try newRecord(earlier: nil)
            record.phase = .creating
            record.virtualFunctions = count
            try save(record)
        } catch {
            return (nil, error)
        }
        do throws(PassthroughError) {
            try write("0", toProbing: &record)
            try write(count, &record)
            record.phase = .created
            record.step = "created"
            try save(record)
            return (record, nil)
        } catch {
            operation.report("failed, putting \(address) back")
            record.phase = .creating
            let remaining = putBack(record)
            guard let second = remaining.error else { return (nil, error) }
            return (remaining.record, DriverTransition.combined(error, second))
        }
    }

    /// Puts back how many there were, and whether drivers look for them: of functions that are made anew they do, or do
    /// not, as they did before.
    func putBackVirtualFunctions(_ record: inout DeviceRecord) throws(PassthroughError) {
        let wanted = record.before.virtualFunctions
        if let wanted, sysfs.virtualFunctions(of: address).count != wanted { try write(0, &record) }
        try putBack(DriverTransition.probing, record.before.virtualFunctionProbing, &record)
        if let wanted { try write(wanted, &record) }
    }

    private func write(_ value: String, toProbing record: inout DeviceRecord) throws(PassthroughError) {
        guard sysfs.text(address, DriverTransition.probing) != value else { return }
        enter(DriverTransition.probing, &record, "keeping drivers from new virtual functions")
        try mustWrite(value, to: DriverTransition.probing, DriverTransition.probing)
    }

    /// The kernel makes them only where there are none (sriov_numvfs_store, drivers/pci/iov.c).
    private func write(_ count: Int, _ record: inout DeviceRecord) throws(PassthroughError) {
        let now = sysfs.virtualFunctions(of: address).count
        if now == count { return }
        if now != 0 {
            enter(DriverTransition.count, &record, "removing \(now) virtual functions")
            try mustWrite("0", to: DriverTransition.count, DriverTransition.count)
        }
        if count != 0 {
            enter(DriverTransition.count, &record, "making \(count) virtual functions")
            try mustWrite("\(count)", to: DriverTransition.count, DriverTransition.count)
        }
        guard sysfs.virtualFunctions(of: address).count == count else {
            throw refusal(
                DriverTransition.count,
                KernelError("write", on: sysfs.path(of: address, DriverTransition.count), .invalidArgument),
                hint: "It has \(sysfs.virtualFunctions(of: address).count) virtual functions instead of \(count).")
        }
    }
}
