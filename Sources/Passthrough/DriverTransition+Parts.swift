internal import LinuxSystem
internal import PCI
internal import VFIO

// Virtual functions of a device that vfio-pci has, and which takes them as soon as it has made them. The kernel opens none
// of them but to who knows the token that the physical function was last opened with.
extension DriverTransition {
    /// Makes `count` virtual functions of a bound device in place of those that there are. On failure there are as many
    /// as before; the record says so if that fails too.
    func divide(
        _ given: DeviceRecord, into count: Int, iommuGroup: Int, _ kernel: any Kernel
    ) -> (record: DeviceRecord?, error: PassthroughError?) {
        var record = given
        do throws(PassthroughError) {
            operation.begin(OperationStep.record.rawValue, "recording what \(address) is like")
            record.phase = .dividing
            record.step = OperationStep.record.rawValue
            record.token = record.token ?? VFIOToken()
            try save(record, as: .record)
        } catch {
            return (given, error)
        }
        do throws(PassthroughError) {
            if count > 0 { try showToken(&record, iommuGroup, kernel) }
            try keepDriversAway(&record)
            try change(to: count, &record)
            record.parts = count == 0 ? nil : count
            try end(&record)
            return (record, nil)
        } catch {
            operation.report("failed, putting back the virtual functions of \(address)")
            record.parts = given.parts
            let kept = undoDividing(record)
            guard let second = kept.error else { return (kept.record, error) }
            return (kept.record, DriverTransition.combined(error, second))
        }
    }

    /// Puts back as many virtual functions as there were before ``divide(_:into:iommuGroup:_:)``.
    func undoDividing(_ given: DeviceRecord) -> (record: DeviceRecord?, error: PassthroughError?) {
        var record = given
        do throws(PassthroughError) {
            try change(to: record.parts ?? 0, &record)
            try end(&record)
            return (record, nil)
        } catch {
            record.phase = .dividing
            return (record, error)
        }
    }

    /// What vfio-pci made goes before the device does.
    func removeParts(_ record: inout DeviceRecord) throws(PassthroughError) {
        guard record.parts != nil, try driver(.virtualFunctions) == Planner.driver else { return }
        try change(to: 0, &record)
    }

    private func end(_ record: inout DeviceRecord) throws(PassthroughError) {
        record.phase = .bound
        record.step = OperationStep.bound.rawValue
        try save(record, as: .bound)
    }

    /// The kernel takes a token only from who opens the device.
    private func showToken(
        _ record: inout DeviceRecord, _ iommuGroup: Int, _ kernel: any Kernel
    ) throws(PassthroughError) {
        enter(.open, &record, "opening \(address), to say which token opens its virtual functions")
        let token = record.token
        let failure = operation.perform(.open, on: address) { () throws(KernelError) in
            _ = try VFIODevice.open(address, iommuGroup: iommuGroup, token: token, kernel: kernel)
        }
        if let failure { throw refusal(.open, failure, hint: failure.vfioOpenHint) }
    }
}
