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
        case .permissionDenied where call == "VFIO_GROUP_GET_DEVICE_FD":
            "its physical function is bound to vfio-pci too, and not by vfiod, so that vfiod does not know the token that"
                + " opens it"
        case .permissionDenied: "vfiod's unit must allow it (DeviceAllow=char-vfio rw, /dev/vfio/vfio rw)"
        default: "the kernel log says more"
        }
    }
}
