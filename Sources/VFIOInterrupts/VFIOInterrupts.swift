public import InterruptSources
internal import LinuxSystem
internal import SystemPackage
public import VFIO

/// The interrupts of one VFIO device. Its sources share one lock and the knowledge of which index is on: VFIO allows
/// one of INTx, MSI and MSI-X at a time, never switches by itself, and refuses to turn off what is off.
///
/// One object per device: what another one turns on, this one does not see.
public final class VFIOInterrupts: Sendable {
    let device: VFIODevice
    let state = Lock(State())

    struct State {
        /// The index that is on.
        var active: VFIOIRQIndex?
        /// An index that is on although its enable failed, because VFIO refused to turn it off again.
        var leftOn: VFIOIRQIndex?
    }

    /// The interrupts of a device that was just opened, so that none is on.
    public init(_ device: VFIODevice) {
        self.device = device
    }

    /// The sources of all types that the device has, for its ``DeviceInterrupts``. Throws as ``source(_:)`` does.
    public func sources() throws(InterruptError) -> [VFIOInterruptSource] {
        var sources: [VFIOInterruptSource] = []
        for type in InterruptType.allCases {
            if let source = try source(type) { sources.append(source) }
        }
        return sources
    }

    /// The source of one type; nil if the device has none of it. Throws ``InterruptError/invalidCount(_:_:)`` for a
    /// count that PCI does not allow, whoever came up with it.
    public func source(_ type: InterruptType) throws(InterruptError) -> VFIOInterruptSource? {
        let index = VFIOIRQIndex(type)
        let info: VFIOIRQInfo
        do { info = try device.irqInfo(index) } catch { throw .kernel(error) }
        if info.count == 0 { return nil }
        let count = Int(info.count)
        guard type.allows(count) else { throw .invalidCount(type, count) }
        return VFIOInterruptSource(
            self, type: type, index: index, count: count,
            growsWhileEnabled: type == .msix && info.isResizable)
    }
}

extension VFIOIRQIndex {
    init(_ type: InterruptType) {
        switch type {
        case .legacy: self = .intx
        case .msi: self = .msi
        case .msix: self = .msix
        }
    }
}
