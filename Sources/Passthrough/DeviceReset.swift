internal import LinuxSystem
internal import PCI
internal import SystemPackage
internal import VFIO

/// Resets a device that vfiod has bound, and sees whether it and all that is reset along came back whole. What it
/// changes for that is in the intent log before, for each of them.
///
/// Runs on the device's lane, and blocks.
struct DeviceReset: Sendable {
    let address: PCIAddress
    /// Nil where there is none: then the device is only looked at.
    let method: ResetMethod?
    /// What is reset along.
    let members: SiblingRecords
    /// What opens the device, where a token does.
    let token: VFIOToken?
    let planner: Planner
    let writer: any SysfsWriting
    let kernel: any Kernel
    let log: IntentLog
    let operation: RunningOperation

    /// After these nobody knows how far the kernel came. After all others the device decides: it may not even have been
    /// touched.
    private static let halfWay: Set<Errno> = [.ioError, .timedOut, .interrupted]

    private var sysfs: Sysfs { planner.root.sysfs }
    private var affected: [PCIAddress] { [address] + members.addresses }

    /// `given`: the record of the device. Those of the members are in ``members``, before and after.
    func run(_ given: DeviceRecord) -> (record: DeviceRecord?, error: PassthroughError?) {
        var records = Dictionary(uniqueKeysWithValues: members.earlier.map { ($0.address, $0.record) })
        records[address] = given
        let before = records
        do throws(PassthroughError) {
            let holders = planner.holders(of: affected)
            if !holders.isEmpty { throw .refused(address, operation: operation.name, holders) }
            try enter(&records)
        } catch {
            for (device, record) in before where records[device] != record { try? log.save(record, of: device) }
            return (given, error)
        }
        var failure: PassthroughError?
        do throws(PassthroughError) {
            if let method { try reset(by: method, &records) }
        } catch {
            failure = error
        }
        return judge(&records, failure)
    }

    /// Ends a reset that vfiod did not live to end.
    func judge(interrupted record: DeviceRecord) -> (record: DeviceRecord?, error: PassthroughError?) {
        var records = [address: record]
        var failure: PassthroughError?
        do throws(PassthroughError) {
            try putBackMethod(&records)
        } catch {
            failure = error
        }
        return judge(&records, failure)
    }

    private func enter(_ records: inout [PCIAddress: DeviceRecord]) throws(PassthroughError) {
        guard let method else { return }
        operation.begin(OperationStep.record.rawValue, "recording that \(address) is being reset by \(method.name)")
        let listed = method.isOfFunction ? try listedMethods(with: method) : []
        // The device's own record comes last: what is reset along is known by then.
        for device in affected.reversed() {
            guard var record = records[device] else { continue }
            record.phase = .resetting
            // How far the reset came is in the device's own record only.
            record.step = (device == address ? OperationStep.record : .reset).rawValue
            record.reset = ResetIntent(
                method: method.name, resetMethod: nil, command: sysfs.configSpace(of: device).commandRegister)
            if device == address, method.isOfFunction, listed != [method.name] {
                record.reset?.resetMethod = listed.joined(separator: " ")
            }
            records[device] = record
            let failure = operation.perform(.record, on: device) { () throws(KernelError) in
                try log.save(record, of: device)
            }
            if let failure {
                throw refusal(
                    "record", failure,
                    hint: "vfiod changes nothing that it cannot record. Look at its state directory.")
            }
        }
    }

    /// What reset_method lists, which is to be put back: an empty list would take all resets from the device.
    private func listedMethods(with method: ResetMethod) throws(PassthroughError) -> [String] {
        let listed: [String]
        do throws(KernelError) {
            let content = try sysfs.content(of: address, OperationStep.resetMethod.rawValue) ?? ""
            listed = content.split(whereSeparator: \.isWhitespace).map(String.init)
        } catch {
            throw refusal(OperationStep.resetMethod.rawValue, error, hint: "Nothing was reset.")
        }
        guard listed.contains(method.name) else {
            throw .noSuchResetMethod(address, method: method.name, available: listed)
        }
        return listed
    }

    private func reset(
        by method: ResetMethod, _ records: inout [PCIAddress: DeviceRecord]
    ) throws(PassthroughError) {
        guard method.isOfFunction else { return try resetBus(&records) }
        var failure: PassthroughError?
        do throws(PassthroughError) {
            if records[address]?.reset?.resetMethod != nil {
                begin(.resetMethod, "writing \(method.name) to reset_method", &records)
                try writeMethods(method.name, .resetMethod, hint: "Nothing was reset.")
            }
            begin(.reset, "resetting \(address) by \(method.name)", &records)
            try write("1", to: "reset", .reset, hint: "The kernel log may say why (journalctl -k).")
        } catch {
            failure = error
        }
        do throws(PassthroughError) {
            try putBackMethod(&records)
        } catch {
            failure = failure ?? error
        }
        if let failure { throw failure }
    }

    private func resetBus(_ records: inout [PCIAddress: DeviceRecord]) throws(PassthroughError) {
        let hot = HotReset(
            affected: affected, token: token, planner: planner, kernel: kernel, operation: operation.name)
        begin(.open, "opening \(address) and what shares its bus", &records)
        var found: HotReset.Opened?
        let closed = operation.perform(.open, on: address) { () throws(PassthroughError) in found = try hot.open() }
        guard let opened = found else { throw closed ?? .deviceNotFound(address.description) }
        begin("dependents", "asking the kernel what a reset of its bus resets", &records)
        let named = try hot.check(opened)
        operation.report("the kernel resets \(named.map(\.description).joined(separator: ", "))")
        begin(.reset, "resetting the bus of \(address)", &records)
        let failure = operation.perform(.reset, on: address) { () throws(PassthroughError) in try hot.reset(opened) }
        if let failure { throw failure }
    }

    private func putBackMethod(_ records: inout [PCIAddress: DeviceRecord]) throws(PassthroughError) {
        guard let content = records[address]?.reset?.resetMethod else { return }
        if sysfs.resetMethods(of: address).joined(separator: " ") == content { return }
        begin(.resetMethodBack, "putting back reset_method", &records)
        try writeMethods(
            content.isEmpty ? "\n" : content, .resetMethodBack,
            hint: "The device's reset_method is not as it was. Restore puts back what it was at Bind.")
    }

    /// Says of each device whether it is whole, and quarantines those that are not.
    private func judge(
        _ records: inout [PCIAddress: DeviceRecord], _ failure: PassthroughError?
    ) -> (record: DeviceRecord?, error: PassthroughError?) {
        var error = failure
        let verdict = ResetVerdict(sysfs: sysfs)
        let trouble = DeviceReset.halfWay(failure)
        for device in affected.reversed() {
            guard let given = records[device] else { continue }
            var record = given
            begin("verify", "looking whether \(device) is whole", &records)
            let name = record.reset.map { " by \($0.method)" } ?? ""
            let fault = verdict.fault(of: device, record).map { $0 + DeviceReset.kernelSays(failure) }
            if let reason = fault ?? trouble {
                record.quarantine = "After a reset\(name), \(reason)."
                operation.report("\(device) is quarantined: \(reason)")
                error = .quarantined(device, reason: record.quarantine ?? "")
            } else if failure == nil, let earlier = record.quarantine, !earlier.hasSuffix(DeviceReset.cured) {
                record.quarantine = earlier + DeviceReset.cured
            }
            record.phase = .bound
            record.step = OperationStep.bound.rawValue
            record.reset = nil
            records[device] = record
            if device != address { members[device] = record }
            if record == given { continue }
            let unsaved = operation.perform(.bound, on: device) { [record] () throws(KernelError) in
                try log.save(record, of: device)
            }
            if let unsaved, error == nil {
                error = refusal(
                    "record", unsaved, hint: "The device is reset and whole. The next start of vfiod looks again.")
            }
        }
        return (records[address], error)
    }

    /// What stands behind the reason of a quarantine once a reset came out well.
    private static let cured = " A reset since came out well."

    private static func kernelSays(_ failure: PassthroughError?) -> String {
        guard case .kernel(_, let step, let error, _) = failure else { return "" }
        return "; the step \(step) failed before (\(error))"
    }

    /// What to say of a reset that may have stopped half-way, nil of any other.
    private static func halfWay(_ failure: PassthroughError?) -> String? {
        guard case .kernel(_, "reset", let error, _) = failure, halfWay.contains(error.errno) else { return nil }
        return "the kernel reports \(error), so that nobody knows how far it came"
    }

    private func write(
        _ value: String, to attribute: String, _ step: OperationStep, hint: String
    ) throws(PassthroughError) {
        let failure = operation.perform(step, on: address) { () throws(KernelError) in
            try writer.write(value, to: sysfs.path(of: address, attribute))
        }
        if let failure { throw refusal(attribute, failure, hint: hint) }
    }

    /// A write that the kernel took and that changed nothing is no success: another method would be used.
    private func writeMethods(_ value: String, _ step: OperationStep, hint: String) throws(PassthroughError) {
        let attribute = OperationStep.resetMethod.rawValue
        try write(value, to: attribute, step, hint: hint)
        let found = sysfs.resetMethods(of: address).joined(separator: " ")
        if found == trimmed(value) { return }
        throw refusal(
            attribute, KernelError("write", on: sysfs.path(of: address, attribute), .invalidArgument),
            hint: "It reads \(found) instead of \(trimmed(value)). \(hint)")
    }

    private func begin(_ step: OperationStep, _ line: String, _ records: inout [PCIAddress: DeviceRecord]) {
        begin(step.rawValue, line, &records)
    }

    /// The step in the record is for people, so that a failure to write it stops nothing.
    private func begin(_ step: String, _ line: String, _ records: inout [PCIAddress: DeviceRecord]) {
        records[address]?.step = step
        if let record = records[address], record.phase == .resetting { try? log.save(record, of: address) }
        operation.begin(step, line)
    }

    private func refusal(_ step: String, _ error: KernelError, hint: String) -> PassthroughError {
        .kernel(address, step: step, error, hint: hint)
    }
}
