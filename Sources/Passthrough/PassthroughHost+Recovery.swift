public import LinuxSystem
internal import Logging
public import PCI

/// What recovery met in the intent log.
public struct RecoveryFinding: Hashable, Sendable {
    /// What becomes of a record.
    public enum Outcome: String, Sendable {
        /// The device is bound, as recorded.
        case bound
        /// The device has the virtual functions that were asked for, as recorded.
        case created
        /// The device is not bound any more, or has other virtual functions, though vfiod did not give it back.
        case drifted
        /// It did not come out whole of a reset, and nobody has released it since.
        case quarantined
        /// An unfinished reset is being judged by what the device is like now.
        case judging
        /// An unfinished bind, or making of virtual functions, or a reset that had not begun, is being taken back.
        case rollingBack
        /// An unfinished restore, or what came after a reset, is being finished.
        case finishing
        /// The host was restarted, or the device is gone or another one: there is nothing to give back.
        case closed
        /// It cannot be read, and was kept aside.
        case corrupt
    }

    /// The device it is about.
    public let address: PCIAddress
    /// What becomes of it.
    public let outcome: Outcome
    /// One sentence.
    public let message: String

    /// Creates a finding.
    public init(address: PCIAddress, outcome: Outcome, message: String) {
        (self.address, self.outcome, self.message) = (address, outcome, message)
    }
}

extension PassthroughHost {
    /// Takes up what an earlier vfiod left: to be called once, before any operation. What is unfinished goes on in the
    /// background until it reaches its end state, and the device is busy so long. Throws if the log cannot be read.
    public func recover() throws(KernelError) -> [RecoveryFinding] {
        var findings: [RecoveryFinding] = []
        let entries = try log.entries()
        let asked = askedFor(entries)
        for (address, entry) in entries {
            let finding: RecoveryFinding
            switch entry {
            case .record(let record): finding = try recover(address, record, asked)
            case .corrupt(let reason):
                let aside = try log.setAside(address)
                finding = RecoveryFinding(
                    address: address, outcome: .corrupt,
                    message: "The record of \(address) cannot be used: \(reason). It is kept as \(aside).")
            }
            logger.notice("\(finding.message)")
            findings.append(finding)
        }
        return findings
    }

    private func recover(
        _ address: PCIAddress, _ record: DeviceRecord, _ asked: AskedFor
    ) throws(KernelError) -> RecoveryFinding {
        if let reason = reasonToClose(address, record) {
            try log.remove(address)
            return RecoveryFinding(
                address: address, outcome: .closed, message: "The record of \(address) is closed: \(reason).")
        }
        records[address] = record
        switch record.phase {
        case .bound where !asked.keeps(record, iommuGroup: sysfs.iommuGroup(of: address)),
            .dividing where !asked.keeps(record, iommuGroup: sysfs.iommuGroup(of: address)),
            .resetting where !asked.keeps(record, iommuGroup: sysfs.iommuGroup(of: address)):
            finish("restore", address, record)
            return RecoveryFinding(
                address: address, outcome: .rollingBack,
                message: "\(address) was bound on behalf of \(record.onBehalfOf ?? "none"), which is not bound; it is"
                    + " given back.")
        case .resetting:
            judgeReset(of: address, record)
            return resetFinding(address, record)
        case .bound where record.quarantine != nil:
            return RecoveryFinding(
                address: address, outcome: .quarantined,
                message: "\(address) is quarantined: \(record.quarantine ?? "")")
        case .bound where sysfs.driver(of: address) == Planner.driver:
            return RecoveryFinding(address: address, outcome: .bound, message: "\(address) is bound, as recorded.")
        case .bound:
            return RecoveryFinding(
                address: address, outcome: .drifted,
                message: "Somebody else took \(address) from \(Planner.driver); Restore puts its settings back.")
        case .binding:
            finish("bind", address, record)
            return RecoveryFinding(
                address: address, outcome: .rollingBack,
                message: "A bind of \(address) was interrupted at \(record.step); it is taken back.")
        case .restoring:
            finish("restore", address, record)
            return RecoveryFinding(
                address: address, outcome: .finishing,
                message: "A restore of \(address) was interrupted at \(record.step); it goes on.")
        case .creating:
            finish(PassthroughHost.creating, address, record)
            return RecoveryFinding(
                address: address, outcome: .rollingBack,
                message: "The virtual functions of \(address) were being made, at \(record.step); that is taken back.")
        case .dividing:
            finishDividing(address, record)
            return RecoveryFinding(
                address: address, outcome: .rollingBack,
                message:
                    "The virtual functions of \(address) were being changed, at \(record.step); that is taken back.")
        case .created where sysfs.virtualFunctions(of: address).count == record.virtualFunctions:
            return RecoveryFinding(
                address: address, outcome: .created,
                message: "\(address) has the virtual functions that were asked for, as recorded.")
        case .created:
            return RecoveryFinding(
                address: address, outcome: .drifted,
                message: "Somebody else changed the virtual functions of \(address); Restore puts its settings back.")
        }
    }

    /// What becomes of an interrupted reset, by the last step that was begun. Whether the device is whole is looked at in
    /// any case.
    private func resetFinding(_ address: PCIAddress, _ record: DeviceRecord) -> RecoveryFinding {
        let (outcome, clause): (RecoveryFinding.Outcome, String) =
            switch OperationStep(rawValue: record.step) {
            case .record, .resetMethod: (.rollingBack, ", before anything was reset; it is taken back.")
            case .resetMethodBack, .bound: (.finishing, "; it goes on.")
            default: (.judging, "; vfiod looks whether it is whole.")
            }
        return RecoveryFinding(
            address: address, outcome: outcome,
            message: "A reset of \(address) was interrupted at \(record.step)\(clause)")
    }

    /// Why a record is not to be followed any more, nil if it is. A boot id that cannot be read is no reason.
    func reasonToClose(_ address: PCIAddress, _ record: DeviceRecord) -> String? {
        let bootID = configuration.root.bootID
        if !bootID.isEmpty, record.bootID != bootID { return "the host was restarted since" }
        guard sysfs.contains(address) else { return "the device is gone" }
        // Ids that cannot be read now are no reason either: the record is the one way back.
        if let function = sysfs.function(address),
            function.vendorID != record.vendorID || function.deviceID != record.deviceID
        {
            return "another device is in its place"
        }
        return nil
    }

    /// Puts a device back in the background, again and again until that is done or the device is gone.
    func finish(_ name: String, _ address: PCIAddress, _ record: DeviceRecord) {
        do throws(PassthroughError) {
            let run = try begin(name, on: address, insisting: true) { operation in
                self.transition(address, operation).putBack(record)
            }
            watch(run, of: address)
        } catch {
            logger.error("\(name) of \(address) cannot go on: \(error)")
        }
    }
}
