internal import CLinux
public import LinuxSystem
public import PCI
internal import SystemPackage

extension VFIODevice {
    /// Resets the function (VFIO_DEVICE_RESET); interrupts stay wired. Throws EINVAL if it has no reset, EAGAIN while
    /// it is being unbound or reset by somebody else.
    public func reset() throws(KernelError) {
        try naming("\(address)") { () throws(KernelError) in
            _ = try kernel.ioctl(raw, CLINUX_VFIO_DEVICE_RESET, "VFIO_DEVICE_RESET")
        }
    }

    /// The functions that ``hotReset(_:)`` resets, itself among them, as the kernel counts them
    /// (VFIO_DEVICE_GET_PCI_HOT_RESET_INFO). Throws ENODEV where neither its slot nor its bus can be reset, EPERM if one
    /// of them is in no IOMMU group.
    public func hotResetSet() throws(KernelError) -> [PCIAddress] {
        // How many there are, the kernel says to those who bring too little room.
        var room = 0
        while true {
            // argsz, flags, count; of each an IOMMU group and where it sits.
            var info = [UInt32(12 + 8 * room), 0, 0] + [UInt32](repeating: 0, count: 2 * room)
            do throws(KernelError) {
                _ = try kernel.ioctl(
                    raw, CLINUX_VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, "VFIO_DEVICE_GET_PCI_HOT_RESET_INFO", buffer: &info)
            } catch {
                let count = Int(info.dropFirst(2).first ?? 0)
                guard error.errno == .noSpace, count > room, count <= 1 << 16 else {
                    throw KernelError(error.call, on: "\(address)", error.errno)
                }
                room = count
                continue
            }
            let count = min(room, Int(info.dropFirst(2).first ?? 0))
            let places = info.dropFirst(3).enumerated().filter { $0.offset % 2 == 1 }.map(\.element)
            return places.prefix(count).compactMap(dependent).sorted()
        }
    }

    /// Resets all functions on the device's bus or in its slot (VFIO_DEVICE_PCI_HOT_RESET). `groups`: the IOMMU groups of
    /// all of them.
    ///
    /// Throws ENODEV where that cannot be reset, EINVAL if one of them is bound to another driver or its IOMMU group is
    /// not given, EBUSY or EAGAIN while one is in use or being worked on, ENOTTY where the bridge refuses, or if one does
    /// not come back.
    public func hotReset(_ groups: [VFIOGroup]) throws(KernelError) {
        let descriptors = groups.map { UInt32(bitPattern: $0.descriptor.rawValue) }
        var reset = [UInt32(12 + 4 * descriptors.count), 0, UInt32(descriptors.count)] + descriptors
        try naming("\(address)") { () throws(KernelError) in
            // The kernel looks the descriptors up during the call: whoever owns them has to outlive it.
            defer { withExtendedLifetime(groups) {} }
            _ = try kernel.ioctl(
                raw, CLINUX_VFIO_DEVICE_PCI_HOT_RESET, "VFIO_DEVICE_PCI_HOT_RESET", buffer: &reset)
        }
    }

    /// Reads segment, bus and devfn of struct vfio_pci_dependent_device. The segment has too few bits for some domains;
    /// all that one bridge resets are in one.
    private func dependent(_ place: UInt32) -> PCIAddress? {
        let slot = UInt8(truncatingIfNeeded: place >> 24)
        return PCIAddress(
            domain: address.domain, bus: UInt8(truncatingIfNeeded: place >> 16), device: slot >> 3, function: slot & 7)
    }
}
