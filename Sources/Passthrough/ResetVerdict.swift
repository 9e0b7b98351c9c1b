internal import PCI

/// Judges whether a device is whole, by what the kernel reads from it. Blocks: a reader waits for a reset to end.
struct ResetVerdict: Sendable {
    let sysfs: Sysfs

    /// What is wrong with a device that was reset, nil if nothing. `record` says what it should be.
    func fault(of address: PCIAddress, _ record: DeviceRecord) -> String? {
        let driver = sysfs.driver(of: address)
        guard driver == Planner.driver else {
            return "its driver is \(driver ?? "none") instead of \(Planner.driver)"
        }
        let config = sysfs.configSpace(of: address)
        guard let vendor = config.word(at: 0), let device = config.word(at: 2), let command = config.word(at: 4) else {
            return "its configuration space cannot be read"
        }
        guard config.isAnswered else { return "its configuration space reads as all ones" }
        // A virtual function has all ones for its ids (SR-IOV 1.1 section 3.4.1).
        let isVirtual = sysfs.physicalFunction(of: address) != nil
        let wanted = isVirtual ? (0xffff, 0xffff) : (record.vendorID, record.deviceID)
        guard (vendor, device) == wanted else {
            return "it answers as \(ids(vendor, device)) instead of \(ids(wanted.0, wanted.1))"
        }
        // Bits 11 to 15 are reserved (PCI 3.0 section 6.2.2): the kernel may have put back what a dead device gave it.
        guard command & 0xf800 == 0 else {
            return "its command register reads as 0x\(hex(UInt32(command), 4)), with reserved bits set"
        }
        // Nobody has opened it, so nobody has made it one, unless its host driver left it so.
        let wasBusMaster = record.reset?.command.map { $0 & 0xf800 == 0 && $0 & 4 != 0 } ?? false
        guard command & 4 == 0 || wasBusMaster else {
            return "it may do DMA (command register 0x\(hex(UInt32(command), 4))), which it could not before"
        }
        return nil
    }

    private func ids(_ vendor: UInt16, _ device: UInt16) -> String {
        hex(UInt32(vendor), 4) + ":" + hex(UInt32(device), 4)
    }
}
