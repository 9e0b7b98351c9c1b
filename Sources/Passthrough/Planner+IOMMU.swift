internal import LinuxSystem
internal import PCI

// What VFIO would refuse when it opens the device, told before the device is taken.
extension Planner {
    func iommuBlockers(_ address: PCIAddress, iommuGroup group: Int) -> [Blocker] {
        reservedRegionBlockers(address, group) + remappingBlockers(address)
    }

    /// Since 6.6 the kernel lets nobody but itself map for a device with such a region (require_direct, drivers/iommu);
    /// before, each IOMMU driver had a refusal of its own. Regions that may be given up are `direct-relaxable`.
    private func reservedRegionBlockers(_ address: PCIAddress, _ group: Int) -> [Blocker] {
        let regions = root.sysfs.reservedRegions(ofIOMMUGroup: group).filter { $0.kind == "direct" }
        guard let first = regions.first else { return [] }
        let range = "0x\(String(first.first, radix: 16)) to 0x\(String(first.last, radix: 16))"
        let others = regions.count > 1 ? " and \(regions.count - 1) more" : ""
        return [
            Blocker(
                code: .reservedRegion,
                message: "The firmware keeps memory for IOMMU group \(group) of \(address) (RMRR): \(range)\(others).",
                evidence: "\(root.path)/sys/kernel/iommu_groups/\(group)/reserved_regions: direct",
                remedy: "Switch off what uses it in the firmware, such as the management controller's access to this"
                    + " device, or choose another device: the kernel does not give away this one.")
        ]
    }

    /// All interrupts of a host are remapped or none; the kernel names their chips so (`IR-`). What is neither, as on
    /// other architectures, is not judged.
    private func remappingBlockers(_ address: PCIAddress) -> [Blocker] {
        let parameter = "/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts"
        guard (try? readText(root.path + parameter, limit: 16)) != "Y" else { return [] }
        var plain: String?
        for line in ((try? readText(root.proc("interrupts"), limit: 1 << 24)) ?? "").split(separator: "\n") {
            let fields = line.split(separator: " ")
            guard let number = fields.first, number.last == ":", Int(number.dropLast()) != nil else { continue }
            // After the number come the counts, and then the chip.
            guard let chip = fields.dropFirst().first(where: { Int($0) == nil }) else { continue }
            if chip.hasPrefix("IR-") { return [] }
            if chip.hasPrefix("IO-APIC") || chip.hasPrefix("PCI-MSI") { plain = plain ?? String(chip) }
        }
        guard let plain else { return [] }
        return [
            Blocker(
                code: .interruptsNotRemapped,
                message: "This host's IOMMU does not remap interrupts, so a guest with \(address) could raise any"
                    + " interrupt of the host.",
                evidence: "/proc/interrupts: \(plain), not IR-\(plain)",
                remedy: "Switch interrupt remapping on in the firmware (VT-d or AMD-Vi, x2APIC) and take intremap=off"
                    + " from the kernel's command line. If every guest is trusted: write Y to \(parameter).")
        ]
    }
}
