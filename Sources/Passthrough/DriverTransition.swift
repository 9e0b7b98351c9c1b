internal import LinuxSystem
internal import PCI
internal import SystemPackage

/// Takes a device from its host driver to vfio-pci and back. What it was like is in the intent log before the first
/// change; the steps are noted there as they come.
///
/// Runs on the device's lane, and blocks. What the kernel did is read from the `driver` link after each step; the
/// result of a write only explains why.
struct DriverTransition: Sendable {
    let address: PCIAddress
    let root: HostRoot
    let writer: any SysfsWriting
    let log: IntentLog
    let operation: RunningOperation
    /// For a device that is bound along with another.
    var onBehalfOf: PCIAddress?
    /// What the configuration calls it, if Apply takes it.
    var appliedAs: String?
    /// Those that are bound along with it.
    var siblings: SiblingTransition?

    var sysfs: Sysfs { root.sysfs }

    /// Binds to vfio-pci. `earlier`: the record of a device that somebody else took from vfio-pci meanwhile. On
    /// failure the device is put back; the record that remains then, if any, says that this failed too.
    func bind(earlier: DeviceRecord?) -> (record: DeviceRecord?, error: PassthroughError?) {
        var record: DeviceRecord
        do throws(PassthroughError) {
            operation.begin(OperationStep.record.rawValue, "recording what \(address) is like")
            record = try newRecord(earlier: earlier)
            try save(record, as: .record)
        } catch {
            return (earlier, error)
        }
        do throws(PassthroughError) {
            try takeFromHostDriver(&record)
            try siblings?.bind()
            record.phase = .bound
            record.step = OperationStep.bound.rawValue
            try save(record, as: .bound)
            return (record, nil)
        } catch {
            operation.report("failed, putting \(address) back")
            record.phase = .binding
            let kept = siblings?.putBack()
            let remaining = putBack(record)
            guard let second = remaining.error ?? kept else { return (nil, error) }
            return (remaining.record, DriverTransition.combined(error, second))
        }
    }

    /// Says on disk that a device is to be given back: from then on recovery goes on with it. Returns the record.
    func beginRestore(of given: DeviceRecord) throws(PassthroughError) -> DeviceRecord {
        var record = given
        // Where an earlier attempt ended tells by whom a driver came that the device did not have.
        if [.bound, .created].contains(record.phase) { record.step = OperationStep.restoring.rawValue }
        record.phase = .restoring
        try save(record, as: .restoring)
        return record
    }

    /// Gives back what `record` says, from any state. Where it ends without error there is no record any more.
    func putBack(_ given: DeviceRecord) -> (record: DeviceRecord?, error: PassthroughError?) {
        var record = given
        do throws(PassthroughError) {
            try removeParts(&record)
            try leaveOtherDrivers(&record)
            try putBackOverride(&record)
            try returnToHostDriver(&record)
            if record.before.isForDefaultDriver == true { try returnToDefaultDriver(&record) }
            try putBackSettings(&record)
            enter(.forget, &record, "forgetting \(address)")
            let failure = operation.perform(.forget, on: address) { () throws(KernelError) in try log.remove(address) }
            if let failure {
                throw refusal(.forget, failure, hint: "The device is as it was; its record is not gone yet.")
            }
            return (nil, nil)
        } catch {
            return (record, error)
        }
    }

    /// The kernel calls a probe a success that found no driver.
    private var nobodyCame: KernelError {
        KernelError("write", on: sysfs.probePath, .operationNotSupportedByDevice)
    }

    /// On disk before it returns.
    func save(_ record: DeviceRecord, as step: OperationStep) throws(PassthroughError) {
        let failure = operation.perform(step, on: address) { () throws(KernelError) in
            try log.save(record, of: address)
        }
        guard let failure else { return }
        throw refusal(
            .record, failure, hint: "vfiod changes nothing that it cannot record. Look at its state directory.")
    }

    /// What to write to driver_override so that it reads as `content` again.
    static func overrideValue(_ content: String) -> String {
        let text = trimmed(content)
        // The kernel shows an empty override so.
        return text.isEmpty || text == "(null)" ? "\n" : text
    }

    func newRecord(earlier: DeviceRecord?) throws(PassthroughError) -> DeviceRecord {
        guard let function = sysfs.function(address) else { throw .deviceNotFound(address.description) }
        let bootID = root.bootID
        if bootID.isEmpty {
            throw refusal(
                .record, KernelError("read", on: "sys/kernel/random/boot_id", .noSuchFileOrDirectory),
                hint: "Without it a record cannot be told from one of an earlier boot.")
        }
        let override = try readOverride(.record)
        var before = DeviceSettings(
            driver: try driver(.record), driverOverride: override,
            powerControl: try recorded("power/control"), enable: try recorded("enable"),
            virtualFunctions: try recorded("sriov_totalvfs") == nil
                ? nil : try virtualFunctionCount(.record),
            virtualFunctionProbing: try recorded("sriov_drivers_autoprobe"),
            resetMethod: try recorded("reset_method"))
        // An override that is still ours: nobody but vfiod has changed what the first record says.
        if let earlier, trimmed(override) == Planner.driver { before = earlier.before }
        return DeviceRecord(
            device: address.description, vendorID: function.vendorID, deviceID: function.deviceID,
            bootID: bootID, phase: .binding, step: OperationStep.record.rawValue, before: before,
            onBehalfOf: onBehalfOf.flatMap { earlier == nil ? $0.description : earlier?.onBehalfOf },
            appliedAs: appliedAs ?? earlier?.appliedAs)
    }

    private func takeFromHostDriver(_ record: inout DeviceRecord) throws(PassthroughError) {
        enter(.driverOverride, &record, "writing \(Planner.driver) to driver_override")
        try mustWrite(Planner.driver, .driverOverride)
        if let driver = try driver(.unbind), driver != Planner.driver {
            try unbind(from: driver, &record)
        }
        enter(.probe, &record, "asking the kernel for \(Planner.driver)")
        let failure = write(address.description, to: sysfs.probePath, .probe)
        guard sysfs.driver(of: address) == Planner.driver else {
            throw refusal(
                .probe, failure ?? nobodyCame,
                hint: "\(Planner.driver) did not take the device; the kernel's log says why (journalctl -k).")
        }
    }

    private func leaveOtherDrivers(_ record: inout DeviceRecord) throws(PassthroughError) {
        guard let driver = try driver(.unbind), driver != record.before.driver else { return }
        if record.before.isForDefaultDriver == true && !HostDrivers.isVFIO(driver) { return }
        if HostDrivers.isVFIO(driver) {
            try unbind(from: driver, &record)
        } else if try cameByProbe(driver, record) {
            try unbind(from: driver, &record, as: .unbindOther)
        } else {
            throw .wrongState(
                address, state: "bound to \(driver)", needed: "bound to \(Planner.driver) or to no driver",
                message: "Somebody else bound \(address) to \(driver), which may be using it. Unbind it from \(driver)"
                    + " first; then Restore puts the device back.")
        }
    }

    /// Whether the kernel chose a driver when vfiod last asked it for one, and nobody bound the device by hand.
    private func cameByProbe(_ driver: String, _ record: DeviceRecord) throws(PassthroughError) -> Bool {
        guard let step = OperationStep(rawValue: record.step), [.probe, .unbindOther].contains(step) else {
            return false
        }
        return trimmed(try readOverride(step)) != driver
    }

    private func unbind(
        from driver: String, _ record: inout DeviceRecord, as step: OperationStep = .unbind
    ) throws(PassthroughError) {
        enter(step, &record, "unbinding from \(driver)")
        // By the driver's own attribute: should another driver be bound by now, it is left alone.
        let path = sysfs.path(ofDriver: driver) + "/unbind"
        let failure = write(address.description, to: path, step)
        guard try self.driver(step) != driver else {
            throw refusal(
                step, failure ?? KernelError("write", on: path, .resourceBusy), hint: "\(driver) kept the device.")
        }
    }

    private func putBackOverride(_ record: inout DeviceRecord) throws(PassthroughError) {
        let wanted = record.before.driverOverride
        guard try readOverride(.driverOverride) != wanted else { return }
        enter(.driverOverride, &record, "putting back driver_override")
        try mustWrite(DriverTransition.overrideValue(wanted), .driverOverride)
        try verify(.driverOverride, is: wanted, try readOverride(.driverOverride))
    }

    private func returnToHostDriver(_ record: inout DeviceRecord) throws(PassthroughError) {
        guard let wanted = record.before.driver, try driver(.probe) != wanted else { return }
        enter(.probe, &record, "asking the kernel for \(wanted)")
        var (step, failure) = (OperationStep.probe, write(address.description, to: sysfs.probePath, .probe))
        if let other = try driver(.probe), other != wanted {
            operation.report("\(other) took the device instead of \(wanted)")
            try unbind(from: other, &record, as: .unbindOther)
        }
        if try driver(.probe) == nil {
            enter(.bind, &record, "binding to \(wanted)")
            step = .bind
            failure = write(address.description, to: sysfs.path(ofDriver: wanted) + "/bind", .bind) ?? failure
        }
        guard sysfs.driver(of: address) == wanted else {
            let hint =
                sysfs.containsDriver(wanted)
                ? "\(wanted) did not take the device; the kernel's log says why (journalctl -k). Then Restore again."
                : "The driver is not loaded. Load it (modprobe \(wanted)), then Restore again."
            throw refusal(step, failure ?? nobodyCame, hint: hint)
        }
    }

    private func putBackSettings(_ record: inout DeviceRecord) throws(PassthroughError) {
        let before = record.before
        try putBackVirtualFunctions(&record)
        try putBack(.resetMethod, before.resetMethod, &record)
        if sysfs.driver(of: address) == nil {
            try putBack(.enable, before.enable, &record)
        } else if let enable = before.enable, raw("enable") != enable {
            // The kernel takes no write while a driver is bound (EBUSY): the count is the driver's.
            let now = trimmed(raw("enable") ?? "")
            operation.report("enable was \(trimmed(enable)) and is \(now), as its driver left it")
        }
        try putBack(.powerControl, before.powerControl, &record)
    }

    /// `step`: one that has the name of the attribute it writes, as for ``mustWrite(_:_:)``.
    func putBack(
        _ step: OperationStep, _ content: String?, _ record: inout DeviceRecord
    ) throws(PassthroughError) {
        let attribute = step.rawValue
        guard let content, raw(attribute) != content else { return }
        enter(step, &record, "putting back \(attribute)")
        let value = trimmed(content)
        try mustWrite(value.isEmpty ? "\n" : value, step)
        try verify(step, is: content, raw(attribute))
    }

    /// Throws if a write that the kernel took changed nothing.
    func verify(_ step: OperationStep, is wanted: String, _ found: String?) throws(PassthroughError) {
        if found == wanted { return }
        throw refusal(
            step, KernelError("write", on: sysfs.path(of: address, step.rawValue), .invalidArgument),
            hint: "It reads \(trimmed(found ?? "")) instead of \(trimmed(wanted)).")
    }

    func mustWrite(_ value: String, _ step: OperationStep) throws(PassthroughError) {
        guard let failure = write(value, to: sysfs.path(of: address, step.rawValue), step) else { return }
        throw refusal(step, failure, hint: "The kernel refused \(trimmed(value)) for \(step.rawValue).")
    }

    func write(_ value: String, to path: String, _ step: OperationStep) -> KernelError? {
        operation.perform(step, on: address) { () throws(KernelError) in try writer.write(value, to: path) }
    }

    /// The driver link. What cannot be read is not taken for no driver.
    func driver(_ step: OperationStep) throws(PassthroughError) -> String? {
        do throws(KernelError) {
            return try sysfs.readDriver(of: address)
        } catch {
            throw refusal(step, error, hint: "It is not known which driver has the device.")
        }
    }

    private func readOverride(_ step: OperationStep) throws(PassthroughError) -> String {
        do throws(KernelError) {
            return try writer.read(sysfs.path(of: address, "driver_override"))
        } catch {
            throw refusal(step, error, hint: "Without driver_override a device cannot be bound by itself.")
        }
    }

    /// An attribute's content byte for byte, nil only if the function has none such: what cannot be read now could not be
    /// put back later.
    private func recorded(_ attribute: String) throws(PassthroughError) -> String? {
        do throws(KernelError) {
            return try sysfs.content(of: address, attribute)
        } catch {
            throw refusal(.record, error, hint: "vfiod takes no device that it could not give back as it was.")
        }
    }

    /// An attribute's content byte for byte; nil if the function has none such.
    private func raw(_ attribute: String) -> String? {
        try? sysfs.content(of: address, attribute)
    }

    /// The step in the record is for people, so that a failure to write it must not stop what puts a device back.
    func enter(_ step: OperationStep, _ record: inout DeviceRecord, _ line: String) {
        record.step = step.rawValue
        try? log.save(record, of: address)
        operation.begin(step.rawValue, line)
    }

    func refusal(_ step: OperationStep, _ error: KernelError, hint: String) -> PassthroughError {
        .kernel(address, step: step.rawValue, error, hint: hint)
    }

    static func combined(_ first: PassthroughError, _ second: PassthroughError) -> PassthroughError {
        guard case .kernel(let address, let step, let error, let hint) = first,
            case .kernel(let second, let secondStep, let secondError, let secondHint) = second
        else { return first }
        let failure = "Putting \(second) back failed at \(secondStep) (\(secondError)): \(secondHint)"
        return .kernel(address, step: step, error, hint: "\(hint) \(failure) Restore tries again.")
    }
}
