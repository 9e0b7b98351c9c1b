internal import CLinux
public import LinuxSystem
internal import SystemPackage

/// A VFIO container (/dev/vfio/vfio): the IOMMU address space that the devices of its IOMMU groups share. Its DMA
/// mappings live as long as it does.
///
/// Order (linux/vfio.h): open, add a ``VFIOGroup``, ``setIOMMU()``, then open devices.
public final class VFIOContainer: Sendable {
    private static let path = "/dev/vfio/vfio"

    let kernel: any Kernel
    let descriptor: OwnedDescriptor

    /// Opens a container. Throws ENOENT or ENODEV where VFIO is not loaded, and ENOTSUP if the kernel speaks another
    /// version of the interface or has no type 1 version 2 IOMMU.
    public init(_ kernel: any Kernel) throws(KernelError) {
        let opened = try kernel.open(VFIOContainer.path, .readWrite)
        let raw = opened.rawValue
        let version = try naming(VFIOContainer.path) { () throws(KernelError) in
            try kernel.ioctl(raw, CLINUX_VFIO_GET_API_VERSION, "VFIO_GET_API_VERSION")
        }
        guard version == VFIO_API_VERSION else {
            throw KernelError("VFIO_GET_API_VERSION", on: "\(VFIOContainer.path): version \(version)", .notSupported)
        }
        let hasType1 = try naming(VFIOContainer.path) { () throws(KernelError) in
            try kernel.ioctl(
                raw, CLINUX_VFIO_CHECK_EXTENSION, "VFIO_CHECK_EXTENSION", value: UInt(VFIO_TYPE1v2_IOMMU))
        }
        guard hasType1 > 0 else {
            throw KernelError("VFIO_CHECK_EXTENSION", on: "\(VFIOContainer.path): no type1v2 IOMMU", .notSupported)
        }
        self.kernel = kernel
        descriptor = opened
    }

    /// Gives the container a type 1 version 2 IOMMU (VFIO_SET_IOMMU). Needs a group first. Throws EPERM where the host
    /// has no interrupt remapping and unsafe interrupts are not allowed.
    public func setIOMMU() throws(KernelError) {
        _ = try naming(VFIOContainer.path) { () throws(KernelError) in
            try kernel.ioctl(
                descriptor.rawValue, CLINUX_VFIO_SET_IOMMU, "VFIO_SET_IOMMU", value: UInt(VFIO_TYPE1v2_IOMMU))
        }
    }
}

/// Says what a refused call was applied to, where the kernel seam cannot know.
func naming<Result>(
    _ subject: @autoclosure () -> String, _ body: () throws(KernelError) -> Result
) throws(KernelError) -> Result {
    do {
        return try body()
    } catch {
        throw KernelError(error.call, on: error.subject.isEmpty ? subject() : error.subject, error.errno)
    }
}
