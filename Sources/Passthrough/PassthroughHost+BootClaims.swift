internal import LinuxSystem
internal import Logging
internal import PCI

// Devices that were kept from their drivers when the host booted.
extension PassthroughHost {
    /// Takes up the devices that vfio-pci has because they were claimed, so that Restore gives each to its default driver;
    /// and says which devices should have been claimed and were not.
    public func adoptClaimed() async {
        for device in names.devices where device.provision.isClaimedAtBoot {
            switch await locate(device) {
            case .failure(let error):
                missed(device.name, nil, "\(device.name) was not found: \(error.clause). See to its [[device]] table.")
            case .success(let address): await adopt(address, device.name)
            }
        }
    }

    private func adopt(_ address: PCIAddress, _ name: String) async {
        guard records[address] == nil, isIdle(address) else { return }
        let (sysfs, writer) = (sysfs, writer)
        let (driver, override) = await readingLane.run {
            (sysfs.driver(of: address), try? writer.read(sysfs.path(of: address, "driver_override")))
        }
        guard driver == Planner.driver, override.map(trimmed) == Planner.driver else {
            let found = driver.map { "\($0) has it" } ?? "no driver has it"
            return missed(
                name, address,
                "\(name) at \(address) was not claimed at boot: \(found). `vfioctl apply` binds it, and renews what claims"
                    + " devices at the next boot.")
        }
        do throws(PassthroughError) {
            let run = try begin("adopt", on: address) { operation in
                var transition = self.transition(address, operation)
                transition.appliedAs = name
                return transition.adopt()
            }
            if let error = await run.end.value() { throw error }
            logger.notice(
                "\(name) at \(address) was claimed at boot; Restore gives it to its default driver",
                metadata: ["event": "boot-claim-adopted", "device": "\(address)"])
        } catch {
            logger.error("\(name) at \(address) was claimed at boot and cannot be taken up: \(error)")
        }
    }

    private func missed(_ name: String, _ address: PCIAddress?, _ reason: String) {
        logger.warning(
            "\(reason)",
            metadata: ["event": "boot-claim-missed", "device": "\(address.map(\.description) ?? name)"])
    }
}
