internal import LinuxSystem
internal import PCI

/// A PCI function that is bound to vfio-pci, so that this process can open it.
struct BoundFunction {
    let address: PCIAddress
    let iommuGroup: Int

    /// All of this machine.
    static func all() -> [BoundFunction] {
        let names = (try? listDirectory("/sys/bus/pci/drivers/vfio-pci")) ?? []
        return names.sorted().compactMap { name in
            guard let address = PCIAddress(name),
                let link = try? readSymbolicLink("/sys/bus/pci/devices/\(name)/iommu_group"),
                let group = link.split(separator: "/").last.flatMap({ Int($0) })
            else { return nil }
            return BoundFunction(address: address, iommuGroup: group)
        }
    }

    /// The descriptor of the one VFIO device that this process has open: the floor makes its requests itself.
    static func descriptor() -> CInt? {
        let names = (try? listDirectory("/proc/self/fd")) ?? []
        let found = names.first { name in
            (try? readSymbolicLink("/proc/self/fd/\(name)")) == "anon_inode:[vfio-device]"
        }
        return found.flatMap { CInt($0) }
    }
}
