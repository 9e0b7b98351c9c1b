public import LinuxSystem
internal import SystemPackage

extension KernelError {
    /// What to do about it, where a device could not be opened through VFIO.
    var hintOnOpening: String {
        switch errno {
        case .notPermitted:
            "the IOMMU group is not viable, because a sibling's driver does DMA; or interrupts are not remapped and"
                + " vfio_iommu_type1 does not allow unsafe ones: the kernel log says which"
        case .resourceBusy: "another process has the IOMMU group open"
        case .noSuchFileOrDirectory: "load vfio-pci (modprobe vfio-pci) and look into the kernel log"
        case .permissionDenied: "vfiod's unit must allow it (DeviceAllow=char-vfio rw, /dev/vfio/vfio rw)"
        default: "the kernel log says more"
        }
    }
}

extension LeaseError {
    /// What to do about a kernel call that failed at this step of a session.
    public static func hint(_ error: KernelError, _ step: String) -> String {
        switch (step, error.errno) {
        case (LeaseSession.openingStep, _): error.hintOnOpening
        case (_, .noMemory):
            "the limit of locked memory of vfiod's unit (LimitMEMLOCK=), or the host's memory, is reached"
        case (_, .badAddress): "the memory has no pages there: make it as large as it is to be, and keep it so"
        default: "the kernel log may say more"
        }
    }
}
