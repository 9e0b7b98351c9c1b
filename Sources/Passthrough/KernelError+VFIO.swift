internal import LinuxSystem
internal import SystemPackage

extension KernelError {
    /// What to do where VFIO does not open a device.
    var vfioOpenHint: String {
        switch errno {
        case .notPermitted:
            "the IOMMU group is not viable, because a sibling's driver does DMA; or interrupts are not remapped"
                + " and vfio_iommu_type1 does not allow unsafe ones: the kernel log says which"
        case .resourceBusy: "another process has the IOMMU group open"
        case .noSuchFileOrDirectory: "load vfio-pci (modprobe vfio-pci) and look into the kernel log"
        case .permissionDenied: "vfiod's unit must allow it (DeviceAllow=char-vfio rw, /dev/vfio/vfio rw)"
        default: "the kernel log says more"
        }
    }
}
