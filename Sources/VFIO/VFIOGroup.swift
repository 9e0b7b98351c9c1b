internal import CLinux
public import LinuxSystem
public import PCI
internal import SystemPackage

/// An IOMMU group as VFIO has it (/dev/vfio/N): the smallest set of devices that can be given to one owner.
///
/// The kernel opens it once: a second open is EBUSY until the last device of the first is closed.
public final class VFIOGroup: Sendable {
    /// The IOMMU group's number.
    public let number: Int
    let container: VFIOContainer
    let descriptor: OwnedDescriptor
    private let path: String

    /// Opens the IOMMU group and adds it to `container`.
    ///
    /// Throws ENOENT if no member is bound to a VFIO driver, EBUSY if somebody else has it open, and EPERM from
    /// VFIO_GROUP_GET_STATUS if it is not viable: a member is bound to a driver that does DMA.
    public init(_ number: Int, in container: VFIOContainer) throws(KernelError) {
        let kernel = container.kernel
        let path = "/dev/vfio/\(number)"
        let opened = try kernel.open(path, .readWrite)
        let raw = opened.rawValue
        var status = vfio_group_status()
        status.argsz = UInt32(MemoryLayout<vfio_group_status>.size)
        try naming(path) { () throws(KernelError) in
            _ = try kernel.ioctl(raw, CLINUX_VFIO_GROUP_GET_STATUS, "VFIO_GROUP_GET_STATUS", &status)
        }
        guard status.flags & UInt32(VFIO_GROUP_FLAGS_VIABLE) != 0 else {
            throw KernelError("VFIO_GROUP_GET_STATUS", on: "\(path): not viable", .notPermitted)
        }
        var containerDescriptor = container.descriptor.rawValue
        try naming(path) { () throws(KernelError) in
            _ = try kernel.ioctl(
                raw, CLINUX_VFIO_GROUP_SET_CONTAINER, "VFIO_GROUP_SET_CONTAINER", &containerDescriptor)
        }
        self.number = number
        self.container = container
        self.path = path
        descriptor = opened
    }

    /// Whether somebody has the IOMMU group, or a device of it, open: a device keeps its group open, and a group opens
    /// once (EBUSY). Throws what else the kernel refuses, such as ENOENT where no member is bound to a VFIO driver.
    public static func isOpen(_ number: Int, _ kernel: any Kernel) throws(KernelError) -> Bool {
        do throws(KernelError) {
            _ = try kernel.open("/dev/vfio/\(number)", .readWrite)
            return false
        } catch {
            if error.errno == .resourceBusy { return true }
            throw error
        }
    }

    /// Opens a device of the group (VFIO_GROUP_GET_DEVICE_FD), which resets it where it can be reset: 100 ms and more.
    ///
    /// `token`: for a virtual function whose physical function vfio-pci has; for the physical function itself, the token
    /// that is asked for from then on. Throws ENODEV for a device that is not bound to a VFIO driver, EINVAL before
    /// ``VFIOContainer/setIOMMU()`` or for a token that the device has no use for, EACCES without the right one.
    public func device(_ address: PCIAddress, token: VFIOToken? = nil) throws(KernelError) -> VFIODevice {
        var name = Array("\(address)\(token.map { " vf_token=\($0)" } ?? "")".utf8) + [0]
        let raw = try naming("\(address)") { () throws(KernelError) in
            try container.kernel.ioctl(
                descriptor.rawValue, CLINUX_VFIO_GROUP_GET_DEVICE_FD, "VFIO_GROUP_GET_DEVICE_FD", buffer: &name)
        }
        return VFIODevice(OwnedDescriptor(adopting: raw), address: address, group: self)
    }
}
