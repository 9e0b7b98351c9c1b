public import InterruptSources
internal import LinuxSystem
public import PCI

/// The interrupts of the devices that vfiod itself has open, so that others can be told what is live: those of a running
/// self-test, later of a lease.
public final class LiveGroups: Sendable {
    private let devices = Lock<[PCIAddress: DeviceInterrupts]>([:])

    /// Creates an empty registry.
    public init() {}

    /// From now on these are the device's.
    public func add(_ address: PCIAddress, _ interrupts: DeviceInterrupts) {
        devices.withLock { $0[address] = interrupts }
    }

    /// vfiod has the device no more.
    public func remove(_ address: PCIAddress) {
        devices.withLock { $0[address] = nil }
    }

    /// The vectors of a type as they are now; nil unless it is live. May wait for a change of the device's mode.
    func vectors(_ address: PCIAddress, _ type: InterruptType) -> [InterruptVectorState]? {
        let interrupts = devices.withLock { $0[address] }
        guard let snapshot = interrupts?.group(type)?.snapshot(), snapshot.phase == .live else { return nil }
        return snapshot.vectors.map { vector in
            InterruptVectorState(
                index: vector.index, wired: vector.isWired, masked: vector.isMasked, pending: vector.isPending,
                hostInterrupt: nil, hostCount: nil)
        }
    }
}
