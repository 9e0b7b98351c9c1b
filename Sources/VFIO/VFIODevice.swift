internal import CLinux
public import LinuxSystem
public import PCI

/// A PCI function opened through VFIO. It keeps its IOMMU group and container open.
///
/// Its methods are the device's requests and nothing more; calls that change it are to be made one at a time.
public final class VFIODevice: Sendable {
    /// Where it sits.
    public let address: PCIAddress
    /// The IOMMU group it was opened from.
    public let group: VFIOGroup
    let descriptor: OwnedDescriptor

    init(_ descriptor: consuming OwnedDescriptor, address: PCIAddress, group: VFIOGroup) {
        self.descriptor = descriptor
        self.address = address
        self.group = group
    }

    /// Opens the device at `address` in a container of its own: container, IOMMU group, IOMMU, device. `token`: as for
    /// ``VFIOGroup/device(_:token:)``.
    public static func open(
        _ address: PCIAddress, iommuGroup: Int, token: VFIOToken? = nil, kernel: any Kernel
    ) throws(KernelError) -> VFIODevice {
        let container = try VFIOContainer(kernel)
        let group = try VFIOGroup(iommuGroup, in: container)
        try container.setIOMMU()
        return try group.device(address, token: token)
    }

    /// What the kernel says of the device (VFIO_DEVICE_GET_INFO).
    public func info() throws(KernelError) -> VFIODeviceInfo {
        var info = vfio_device_info()
        info.argsz = UInt32(MemoryLayout<vfio_device_info>.size)
        try naming("\(address)") { () throws(KernelError) in
            _ = try kernel.ioctl(raw, CLINUX_VFIO_DEVICE_GET_INFO, "VFIO_DEVICE_GET_INFO", &info)
        }
        return VFIODeviceInfo(
            canReset: info.flags & UInt32(VFIO_DEVICE_FLAGS_RESET) != 0,
            isPCI: info.flags & UInt32(VFIO_DEVICE_FLAGS_PCI) != 0,
            regionCount: info.num_regions, irqCount: info.num_irqs)
    }

    /// A second descriptor of the open device, to be handed to another process. Whoever has it can do to the device all
    /// that this object can, and keeps it and its IOMMU group open.
    public func duplicateDescriptor() throws(KernelError) -> OwnedDescriptor { try descriptor.duplicate() }

    var kernel: any Kernel { group.container.kernel }
    var raw: CInt { descriptor.rawValue }
}

/// What VFIO says of a device as a whole.
public struct VFIODeviceInfo: Hashable, Sendable {
    /// Whether a reset succeeded when it was opened (VFIO_DEVICE_FLAGS_RESET).
    public let canReset: Bool
    /// Whether it is a PCI function (VFIO_DEVICE_FLAGS_PCI).
    public let isPCI: Bool
    /// How many regions it has, 9 and more for PCI.
    public let regionCount: UInt32
    /// How many interrupt indexes it has, 5 for PCI.
    public let irqCount: UInt32
}
