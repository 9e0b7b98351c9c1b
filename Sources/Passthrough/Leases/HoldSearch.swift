internal import Glibc
internal import LinuxSystem
internal import PCI
internal import VFIO

/// Finds out whether somebody has a device open, and who.
///
/// The kernel is asked first: an IOMMU group that opens has no device open, whatever the processes look like.
struct HoldSearch: Sendable {
    /// What came of it.
    struct Finding: Hashable, Sendable {
        let isHeld: Bool
        /// Those that could be named.
        let holders: [Holder]

        var blockers: [Blocker] {
            guard isHeld && holders.isEmpty else { return holders.map(\.blocker) }
            return [
                Blocker(
                    code: .held, message: "The device is held by a process that cannot be found.",
                    evidence: "its IOMMU group does not open: EBUSY",
                    remedy: "Look for descriptors of VFIO in other PID namespaces, or under way between processes.")
            ]
        }
    }

    let address: PCIAddress
    let iommuGroup: Int?
    let search: HolderSearch
    let kernel: any Kernel
    /// The processes of the sessions of other devices.
    let users: Set<Int>
    /// Whether vfiod has the IOMMU group open, for a session of another device of it.
    let isShared: Bool

    /// Blocks for as long as the IOMMU group's device takes to be opened or closed.
    func run() -> Finding {
        if !isShared, let iommuGroup, let isOpen = try? VFIOGroup.isOpen(iommuGroup, kernel) {
            return Finding(isHeld: isOpen, holders: isOpen ? search.holders(of: address, users: users) : [])
        }
        let holders = search.holders(of: address, users: users, except: isShared ? Int(getpid()) : nil)
        return Finding(isHeld: !holders.isEmpty, holders: holders)
    }
}
