internal import LinuxSystem
internal import PCI
internal import SystemPackage

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
        operation.begin("record", "recording that \(address) is being reset by \(method.name)")
        let listed = sysfs.resetMethods(of: address)
        // The device's own record comes last: what is reset along is known by then.
        for device in affected.reversed() {
            guard var record = records[device] else { continue }
            record.phase = .resetting
            record.step = "record"
            record.reset = ResetIntent(
                method: method.name, resetMethod: nil, command: sysfs.configSpace(of: device).commandRegister)
            if device == address, method.isOfFunction, listed != [method.name] {
                record.reset?.resetMethod = listed.joined(separator: " ")
            }
            records[device] = record
            do throws(KernelError) {
                try log.save(record, of: device)
            } catch {
                throw refusal(
                    "record", error, hint: "vfiod changes nothing that it cannot record. Look at its state directory.")
            }
        }
    }

    private func reset(
        by method: ResetMethod, _ records: inout [PCIAddress: DeviceRecord]
    ) throws(PassthroughError) {
        guard method.isOfFunction else { return try resetBus(&records) }
        var failure: PassthroughError?
        do throws(PassthroughError) {
            if records[address]?.reset?.resetMethod != nil {
                begin("reset_method", "writing \(method.name) to reset_method", &records)
                try write(method.name, to: "reset_method", hint: "Nothing was reset.")
            }
            begin("reset", "resetting \(address) by \(method.name)", &records)
            try write("1", to: "reset", hint: "The kernel log may say why (journalctl -k).")
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
        let hot = HotReset(affected: affected, planner: planner, kernel: kernel, operation: operation.name)
        begin("open", "opening \(address) and what shares its bus", &records)
        let opened = try hot.open()
        begin("dependents", "asking the kernel what a reset of its bus resets", &records)
        let named = try hot.check(opened)
        operation.report("the kernel resets \(named.map(\.description).joined(separator: ", "))")
        begin("reset", "resetting the bus of \(address)", &records)
        try hot.reset(opened)
    }

    private func putBackMethod(_ records: inout [PCIAddress: DeviceRecord]) throws(PassthroughError) {
        guard let content = records[address]?.reset?.resetMethod else { return }
        if sysfs.resetMethods(of: address).joined(separator: " ") == content { return }
        begin("put-back", "putting back reset_method", &records)
        try write(
            content.isEmpty ? "\n" : content, to: "reset_method",
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
            record.step = "bound"
            record.reset = nil
            records[device] = record
            if device != address { members[device] = record }
            do throws(KernelError) {
                if record != given { try log.save(record, of: device) }
            } catch let unsaved {
                error =
                    error
                    ?? refusal(
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

    private func write(_ value: String, to attribute: String, hint: String) throws(PassthroughError) {
        do throws(KernelError) {
            try writer.write(value, to: sysfs.path(of: address, attribute))
        } catch {
            throw refusal(attribute, error, hint: hint)
        }
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
