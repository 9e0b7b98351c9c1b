internal import CLinux
internal import Glibc
internal import LinuxSystem
internal import SystemPackage

/// The mappings of a fake container, with the rules of a type 1 version 2 IOMMU (drivers/vfio/vfio_iommu_type1.c).
final class FakeDMAMappings: Sendable {
    private let mappings = Lock<[FakeVFIO.Mapping]>([])

    func ioctl(_ request: UInt, bytes: inout [UInt8], _ vfio: FakeVFIO) throws(KernelError) -> CInt {
        switch request {
        case CLINUX_VFIO_IOMMU_MAP_DMA:
            let flags = bytes.word(at: 4) ?? 0
            guard (bytes.word(at: 0) ?? 0) >= 32, flags & ~3 == 0, flags & 3 != 0 else { throw invalid }
            try map(
                FakeVFIO.Mapping(iova: bytes.long(at: 16), size: bytes.long(at: 24), isWritable: flags & 2 != 0),
                memory: bytes.long(at: 8), vfio)
        case CLINUX_VFIO_IOMMU_UNMAP_DMA:
            guard (bytes.word(at: 0) ?? 0) >= 24, bytes.word(at: 4) == 0 else { throw invalid }
            bytes.setLong(try unmap(bytes.long(at: 8), bytes.long(at: 16), vfio), at: 16)
        default: throw KernelError("ioctl", .inappropriateIOCTLForDevice)
        }
        return 0
    }

    func removeAll(_ vfio: FakeVFIO) {
        let all = mappings.withLock { mappings in
            defer { mappings = [] }
            return mappings
        }
        vfio.dma.withLock { $0.removeAll(where: all.contains) }
    }

    private var invalid: KernelError { KernelError("ioctl", .invalidArgument) }

    private func map(_ mapping: FakeVFIO.Mapping, memory: UInt64, _ vfio: FakeVFIO) throws(KernelError) {
        guard mapping.size > 0, (mapping.iova | mapping.size | memory) % 4096 == 0,
            !mapping.iova.addingReportingOverflow(mapping.size - 1).overflow
        else { throw invalid }
        try mappings.withLock { (mappings) throws(KernelError) in
            if mappings.contains(where: { $0.overlaps(mapping.iova, mapping.size) }) {
                throw KernelError("ioctl", .fileExists)
            }
            mappings.append(mapping)
        }
        vfio.dma.withLock { $0.append(mapping) }
    }

    private func unmap(_ iova: UInt64, _ size: UInt64, _ vfio: FakeVFIO) throws(KernelError) -> UInt64 {
        guard size > 0, (iova | size) % 4096 == 0, !iova.addingReportingOverflow(size - 1).overflow else {
            throw invalid
        }
        let hit = try mappings.withLock { (mappings) throws(KernelError) in
            let hit = mappings.filter { $0.overlaps(iova, size) }
            // Version 2 cuts no mapping in two.
            guard hit.allSatisfy({ $0.iova >= iova && $0.iova - iova + ($0.size - 1) <= size - 1 }) else {
                throw invalid
            }
            mappings.removeAll(where: hit.contains)
            return hit
        }
        vfio.dma.withLock { $0.removeAll(where: hit.contains) }
        return hit.reduce(0) { $0 + $1.size }
    }
}

extension FakeVFIO.Mapping {
    fileprivate func overlaps(_ other: UInt64, _ otherSize: UInt64) -> Bool {
        iova <= other + (otherSize - 1) && other <= iova + (size - 1)
    }
}
