internal import LinuxSystem
internal import Logging
public import PCI

// Devices that are to be used for nothing until somebody has looked at them. Why stands in their records, so that no other
// vfiod gives them on either.
extension PassthroughHost {
    /// Keeps a device from every use from now on. One of which that cannot be recorded is kept all the same, by this vfiod.
    func quarantine(_ address: PCIAddress, because reason: String) async {
        await settled(address)
        guard let earlier = records[address] else { return }
        var record = earlier
        record.quarantine = earlier.quarantine.map { "\($0) \(reason)" } ?? reason
        logger.error(
            "\(address) is quarantined: \(reason)", metadata: ["event": "device-quarantined", "device": "\(address)"])
        let quarantined = record
        do throws(PassthroughError) {
            let run = try begin("quarantine", on: address) { operation in
                operation.begin("record", "recording that \(address) is quarantined")
                do throws(PassthroughError) {
                    try self.transition(address, operation).save(quarantined, as: .quarantine)
                    return (quarantined, nil)
                } catch {
                    return (quarantined, error)
                }
            }
            _ = await run.end.value()
        } catch {
            records[address] = quarantined
            logger.error("the quarantine of \(address) is not recorded: \(error)")
        }
    }

    /// Takes a device out of quarantine: somebody has looked at it.
    public func release(_ address: PCIAddress) async throws(PassthroughError) {
        try mustExist(address)
        try mustBeIdle(address)
        guard var record = records[address], record.quarantine != nil else {
            let state = records[address]?.phase.rawValue
            let found = await stateName(of: address)
            throw .wrongState(
                address, state: state ?? found, needed: DeviceState.quarantined.rawValue,
                message: "\(address) is not quarantined, so there is nothing to release it from.")
        }
        let (log, earlier) = (log, record)
        record.quarantine = nil
        let released = record
        let run = try begin("release", on: address) { operation in
            operation.begin("record", "recording that \(address) is released")
            let failure = operation.perform(.quarantine, on: address) { () throws(KernelError) in
                try log.save(released, of: address)
            }
            guard let failure else { return (released, nil) }
            let hint = "It stays quarantined. Look at the state directory."
            return (earlier, .kernel(address, step: "record", failure, hint: hint))
        }
        try await wait(for: run, of: address)
    }
}
