internal import PCI

/// A range of the addresses at which devices see memory. It is not empty, begins and ends at a page, and does not wrap.
public struct DMARange: Hashable, Sendable {
    /// Why a range cannot be used.
    public enum Fault: Hashable, Sendable {
        /// It has no bytes.
        case empty
        /// It, or the place in the memory, is not aligned to pages.
        case unaligned
        /// It goes beyond the last address.
        case overflow
        /// It overlaps what is mapped.
        case overlaps
        /// It overlaps addresses that the IOMMU keeps, in the kernel's word for why.
        case reserved(first: UInt64, last: UInt64, kind: String)
        /// It is not what this session has mapped: mappings go as they came.
        case notMapped
    }

    /// What everything is aligned to: the smallest page of every IOMMU.
    public static let pageSize: UInt64 = 4096

    /// Its first address.
    public let first: UInt64
    /// How many bytes.
    public let size: UInt64

    /// Checks and creates a range.
    public init(first: UInt64, size: UInt64) throws(LeaseError) {
        guard size > 0 else { throw .badRange(.empty) }
        guard (first | size) % DMARange.pageSize == 0 else { throw .badRange(.unaligned) }
        guard !first.addingReportingOverflow(size - 1).overflow else { throw .badRange(.overflow) }
        (self.first, self.size) = (first, size)
    }

    /// Its last address.
    public var last: UInt64 { first + (size - 1) }

    /// Whether they have an address in common.
    public func overlaps(_ other: DMARange) -> Bool { first <= other.last && other.first <= last }

    /// The region that keeps it from being mapped. VFIO lets those be mapped that firmware can do without
    /// (vfio_iommu_resv_exclude).
    func conflict(in regions: [IOMMUReservedRegion]) -> Fault? {
        let region = regions.first { $0.kind != "direct-relaxable" && first <= $0.last && $0.first <= last }
        return region.map { .reserved(first: $0.first, last: $0.last, kind: $0.kind) }
    }
}
