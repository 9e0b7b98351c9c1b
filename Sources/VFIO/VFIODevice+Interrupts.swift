internal import CLinux
public import LinuxSystem
internal import SystemPackage

/// The interrupt indexes of a PCI function (linux/vfio.h, VFIO_PCI_*_IRQ_INDEX).
public enum VFIOIRQIndex: UInt32, Sendable, CaseIterable {
    /// The INTx line.
    case intx
    /// Message Signalled Interrupts.
    case msi
    /// MSI-X.
    case msix
    /// An error that the device reported (AER).
    case error
    /// The host asks for the device back.
    case request
}

/// What VFIO says of one interrupt index. The count is the kernel's word: check it before use.
public struct VFIOIRQInfo: Hashable, Sendable {
    /// How many vectors it has; 0 if the device does not have it.
    public let count: UInt32
    /// Whether eventfds can be signalled (VFIO_IRQ_INFO_EVENTFD).
    public let signalsEventFDs: Bool
    /// Whether it can be masked at the host (VFIO_IRQ_INFO_MASKABLE).
    public let isMaskable: Bool
    /// Whether it masks itself when it fires (VFIO_IRQ_INFO_AUTOMASKED).
    public let isAutomasked: Bool
    /// Whether vectors can be added while it is on (VFIO_IRQ_INFO_NORESIZE clear).
    public let isResizable: Bool
}

/// The two ways in which VFIO_DEVICE_SET_IRQS does not fail.
public enum VFIOSetIRQsResult: Hashable, Sendable {
    /// Done.
    case done
    /// Nothing was enabled, because the host can provide for only this many vectors.
    case available(Int)
}

extension VFIODevice {
    /// What the kernel says of one interrupt index (VFIO_DEVICE_GET_IRQ_INFO). Throws EINVAL for ``VFIOIRQIndex/error``
    /// where the kernel has it for PCI Express only.
    public func irqInfo(_ index: VFIOIRQIndex) throws(KernelError) -> VFIOIRQInfo {
        var info = vfio_irq_info()
        info.argsz = UInt32(MemoryLayout<vfio_irq_info>.size)
        info.index = index.rawValue
        try naming("\(address) \(index)") { () throws(KernelError) in
            _ = try kernel.ioctl(raw, CLINUX_VFIO_DEVICE_GET_IRQ_INFO, "VFIO_DEVICE_GET_IRQ_INFO", &info)
        }
        return VFIOIRQInfo(
            count: info.count, signalsEventFDs: info.flags & UInt32(VFIO_IRQ_INFO_EVENTFD) != 0,
            isMaskable: info.flags & UInt32(VFIO_IRQ_INFO_MASKABLE) != 0,
            isAutomasked: info.flags & UInt32(VFIO_IRQ_INFO_AUTOMASKED) != 0,
            isResizable: info.flags & UInt32(VFIO_IRQ_INFO_NORESIZE) == 0)
    }

    /// Lets vectors from `first` signal these eventfds, nil for none (ACTION_TRIGGER, DATA_EVENTFD). The first call
    /// turns the index on.
    ///
    /// Throws EINVAL beyond the index's count, beyond what was provided for where the index is not resizable, and
    /// while INTx, MSI or MSI-X other than this is on; ENOSPC when the host is out of vectors. A refused call leaves its whole range
    /// without eventfds, and the index off if it was off before.
    public func setTriggers(
        _ index: VFIOIRQIndex, first: Int = 0, _ eventfds: [EventFD?]
    ) throws(KernelError) -> VFIOSetIRQsResult {
        let result = try setIRQs(
            index, action: VFIO_IRQ_SET_ACTION_TRIGGER, first: first, count: eventfds.count, eventfds: eventfds)
        return result > 0 ? .available(Int(result)) : .done
    }

    /// Turns the index off (ACTION_TRIGGER, DATA_NONE, count 0). Throws EINVAL if it is off.
    public func disableTriggers(_ index: VFIOIRQIndex) throws(KernelError) {
        _ = try setIRQs(index, action: VFIO_IRQ_SET_ACTION_TRIGGER, first: 0, count: 0)
    }

    /// Signals the eventfds of `count` vectors from `first`, as their interrupt handler would (ACTION_TRIGGER,
    /// DATA_NONE): VFIO's loopback. A vector without an eventfd is passed over. Throws EINVAL if the index is off.
    public func trigger(_ index: VFIOIRQIndex, first: Int, count: Int) throws(KernelError) {
        // A count of 0 would turn the index off.
        guard count > 0 else { throw invalid(index) }
        _ = try setIRQs(index, action: VFIO_IRQ_SET_ACTION_TRIGGER, first: first, count: count)
    }

    /// Masks or unmasks INTx at the host (ACTION_MASK, ACTION_UNMASK, DATA_NONE). Unmasking a line that is still
    /// asserted signals again. Throws EINVAL if INTx is off.
    public func setLineMasked(_ masked: Bool) throws(KernelError) {
        let action = masked ? VFIO_IRQ_SET_ACTION_MASK : VFIO_IRQ_SET_ACTION_UNMASK
        _ = try setIRQs(.intx, action: action, first: 0, count: 1)
    }

    /// Lets a signal of this eventfd unmask INTx, nil for none (ACTION_UNMASK, DATA_EVENTFD). Throws EBUSY while
    /// another is set, EINVAL if INTx is off.
    public func setUnmaskEventFD(_ eventfd: EventFD?) throws(KernelError) {
        _ = try setIRQs(.intx, action: VFIO_IRQ_SET_ACTION_UNMASK, first: 0, count: 1, eventfds: [eventfd])
    }

    /// struct vfio_irq_set is built as bytes, because its data has no fixed length: argsz, flags, index, start, count,
    /// and with `eventfds` one descriptor for each vector, -1 for none.
    private func setIRQs(
        _ index: VFIOIRQIndex, action: CInt, first: Int, count: Int, eventfds: [EventFD?]? = nil
    ) throws(KernelError) -> CInt {
        guard let start = UInt32(exactly: first), let number = UInt32(exactly: count), number <= 65536 else {
            throw invalid(index)
        }
        let data = eventfds == nil ? VFIO_IRQ_SET_DATA_NONE : VFIO_IRQ_SET_DATA_EVENTFD
        let descriptors = (eventfds ?? []).map { UInt32(bitPattern: $0?.rawValue ?? -1) }
        let header = [
            UInt32(20 + 4 * descriptors.count), UInt32(bitPattern: action | data), index.rawValue, start, number,
        ]
        var set = (header + descriptors).flatMap { word in (0..<4).map { UInt8(truncatingIfNeeded: word >> (8 * $0)) } }
        return try naming("\(address) \(index)") { () throws(KernelError) in
            // The kernel looks the descriptors up during the call: whoever owns them has to outlive it.
            defer { withExtendedLifetime(eventfds) {} }
            return try kernel.ioctl(raw, CLINUX_VFIO_DEVICE_SET_IRQS, "VFIO_DEVICE_SET_IRQS", buffer: &set)
        }
    }

    private func invalid(_ index: VFIOIRQIndex) -> KernelError {
        KernelError("VFIO_DEVICE_SET_IRQS", on: "\(address) \(index): no such vectors", .invalidArgument)
    }
}
