internal import CLinux
public import LinuxSystem
internal import SystemPackage

// The addresses at which the devices of a container see memory (linux/vfio.h, type 1 version 2).
extension VFIOContainer {
    /// Lets the devices use `size` bytes of this process's memory at `memory` as their addresses from `iova`
    /// (VFIO_IOMMU_MAP_DMA), for writing too if `writable`. The pages are pinned, which takes as long as it takes, and
    /// stay pinned until they are unmapped, whatever becomes of this process's own mapping.
    ///
    /// Throws EINVAL for what is not aligned to pages or beyond what the IOMMU can address, EEXIST for addresses that
    /// are mapped already, EFAULT for memory that is not there, ENOMEM beyond the limit of locked memory, and ENOSPC
    /// beyond the module's own limit of mappings.
    public func mapDMA(iova: UInt64, memory: UInt64, size: UInt64, writable: Bool) throws(KernelError) {
        var map = vfio_iommu_type1_dma_map()
        map.argsz = UInt32(MemoryLayout<vfio_iommu_type1_dma_map>.size)
        map.flags = UInt32(VFIO_DMA_MAP_FLAG_READ) | (writable ? UInt32(VFIO_DMA_MAP_FLAG_WRITE) : 0)
        map.vaddr = memory
        map.iova = iova
        map.size = size
        try naming(VFIOContainer.range(iova, size)) { () throws(KernelError) in
            _ = try kernel.ioctl(descriptor.rawValue, CLINUX_VFIO_IOMMU_MAP_DMA, "VFIO_IOMMU_MAP_DMA", &map)
        }
    }

    /// Takes whole mappings out of a range and unpins their pages (VFIO_IOMMU_UNMAP_DMA); returns how many bytes that
    /// were, 0 if none was mapped. Throws EINVAL for a range that would cut a mapping.
    @discardableResult
    public func unmapDMA(iova: UInt64, size: UInt64) throws(KernelError) -> UInt64 {
        // struct vfio_iommu_type1_dma_unmap, whose tail has no fixed length, as words: argsz and flags, iova, size.
        var unmap: [UInt64] = [24, iova, size]
        try naming(VFIOContainer.range(iova, size)) { () throws(KernelError) in
            _ = try kernel.ioctl(
                descriptor.rawValue, CLINUX_VFIO_IOMMU_UNMAP_DMA, "VFIO_IOMMU_UNMAP_DMA", buffer: &unmap)
        }
        return unmap.last ?? 0
    }

    private static func range(_ iova: UInt64, _ size: UInt64) -> String {
        "\(size) bytes at 0x\(String(iova, radix: 16))"
    }
}
