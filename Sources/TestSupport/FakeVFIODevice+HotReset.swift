internal import CLinux
internal import Glibc
internal import LinuxSystem
internal import PCI
internal import SystemPackage

// The rules of vfio_pci_core.c, vfio_pci_ioctl_get_pci_hot_reset_info and vfio_pci_ioctl_pci_hot_reset.
extension FakeVFIODevice {
    /// VFIO_DEVICE_GET_PCI_HOT_RESET_INFO.
    func describeHotReset(_ bytes: inout [UInt8]) throws(KernelError) {
        guard let size = bytes.word(at: 0), size >= 12 else { throw KernelError("ioctl", .invalidArgument) }
        let affected = try affected()
        bytes.setWord(UInt32(affected.count), at: 8)
        guard affected.count <= (Int(size) - 12) / 8 else { throw KernelError("ioctl", .noSpace) }
        for (index, found) in affected.enumerated() {
            guard let place = PCIAddress(found.device.address) else { continue }
            let slot = UInt32(place.device << 3 | place.function)
            bytes.setWord(UInt32(found.iommuGroup), at: 12 + 8 * index)
            bytes.setWord(place.domain & 0xffff | UInt32(place.bus) << 16 | slot << 24, at: 16 + 8 * index)
        }
    }

    /// VFIO_DEVICE_PCI_HOT_RESET.
    func hotReset(_ bytes: [UInt8], _ kernel: FakeKernel) throws(KernelError) {
        let invalid = KernelError("ioctl", .invalidArgument)
        guard let size = bytes.word(at: 0), size >= 12, bytes.word(at: 4) == 0 else { throw invalid }
        let affected = try affected()
        guard let count = bytes.word(at: 8), count > 0, count <= affected.count else { throw invalid }
        var groups: Set<Int> = []
        for index in 0..<Int(count) {
            guard let descriptor = bytes.word(at: 12 + 4 * index) else { throw KernelError("ioctl", .badAddress) }
            guard let group = try kernel.file(of: CInt(bitPattern: descriptor)) as? FakeGroupFile else { throw invalid }
            groups.insert(group.number)
        }
        guard affected.allSatisfy({ $0.device.fixed.isBound && groups.contains($0.iommuGroup) }) else { throw invalid }
        for found in affected { found.device.state.withLock { $0.hotResetCount += 1 } }
    }

    /// All that a reset of its bus takes along.
    private func affected() throws(KernelError) -> [(device: FakeVFIODevice, iommuGroup: Int)] {
        guard let bus = fixed.bus, let host else { throw KernelError("ioctl", Errno(rawValue: ENODEV)) }
        return host.devices(onBus: bus)
    }
}
