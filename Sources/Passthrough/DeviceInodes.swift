internal import LinuxSystem
internal import PCI

/// The inodes of devices that vfiod has had open, by which their descriptors are known in other processes.
///
/// Before Linux 6.11 all open devices share one inode, with eventfds among others; that one tells nothing and is left out.
final class DeviceInodes: Sendable {
    private let addresses = Lock<[UInt64: PCIAddress]>([:])

    /// Enters an open device. An eventfd's inode shows which one is shared.
    func enter(_ identity: FileIdentity, of address: PCIAddress) {
        guard let shared = try? FileIdentity(of: EventFD().rawValue), shared != identity else { return }
        addresses.withLock { addresses in
            addresses = addresses.filter { $0.value != address }
            addresses[identity.inode] = address
        }
    }

    /// The device of an inode, nil if it is not known.
    func address(of inode: UInt64) -> PCIAddress? { addresses.withLock { $0[inode] } }
}
