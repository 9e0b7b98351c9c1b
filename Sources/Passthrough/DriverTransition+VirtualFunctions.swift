internal import LinuxSystem
internal import PCI
internal import SystemPackage

// SR-IOV. The host's drivers are kept from new virtual functions from before they come until they go: a driver that is
// loaded later, by udev for one, would take those that nobody has.
extension DriverTransition {
    /// Makes `count` virtual functions in place of those that there are. On failure the device is put back; the record
    /// that remains then, if any, says that this failed too.
    func makeVirtualFunctions(_ count: Int) -> (record: DeviceRecord?, error: PassthroughError?) {
        var record: DeviceRecord
        do throws(PassthroughError) {
            operation.begin(OperationStep.record.rawValue, "recording what \(address) is like")
            record = try newRecord(earlier: nil)
            record.phase = .creating
            record.virtualFunctions = count
            try save(record, as: .record)
        } catch {
            return (nil, error)
        }
        do throws(PassthroughError) {
            try keepDriversAway(&record)
            try change(to: count, &record)
            record.phase = .created
            record.step = OperationStep.created.rawValue
            try save(record, as: .created)
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
        if let wanted, try virtualFunctionCount(.virtualFunctions) != wanted { try change(to: 0, &record) }
        try putBack(.virtualFunctionProbing, record.before.virtualFunctionProbing, &record)
        if let wanted { try change(to: wanted, &record) }
    }

    func keepDriversAway(_ record: inout DeviceRecord) throws(PassthroughError) {
        guard sysfs.text(address, OperationStep.virtualFunctionProbing.rawValue) != "0" else { return }
        enter(.virtualFunctionProbing, &record, "keeping drivers from new virtual functions")
        try mustWrite("0", .virtualFunctionProbing)
        try verify(.virtualFunctionProbing, is: "0", sysfs.text(address, OperationStep.virtualFunctionProbing.rawValue))
    }

    /// The kernel makes them only where there are none (sriov_numvfs_store, drivers/pci/iov.c).
    func change(to count: Int, _ record: inout DeviceRecord) throws(PassthroughError) {
        let now = try virtualFunctionCount(.virtualFunctions)
        if now == count { return }
        if now != 0 {
            enter(.virtualFunctions, &record, "removing \(now) virtual functions")
            try mustWrite("0", .virtualFunctions)
        }
        if count != 0 {
            enter(.virtualFunctions, &record, "making \(count) virtual functions")
            try mustWrite("\(count)", .virtualFunctions)
        }
        try verify(.virtualFunctions, is: "\(count)", "\(try virtualFunctionCount(.virtualFunctions))")
    }

    /// How many there are. The kernel answers once it has made, or removed, those that somebody asked for before: the
    /// process that a killed vfiod had write their number goes on. What cannot be read is not taken for none.
    func virtualFunctionCount(_ step: OperationStep) throws(PassthroughError) -> Int {
        let path = sysfs.path(of: address, OperationStep.virtualFunctions.rawValue)
        do throws(KernelError) {
            guard let count = Int(trimmed(try writer.read(path))) else {
                throw KernelError("read", on: path, .invalidArgument)
            }
            return count
        } catch {
            throw refusal(step, error, hint: "It is not known how many virtual functions the device has.")
        }
    }
}
