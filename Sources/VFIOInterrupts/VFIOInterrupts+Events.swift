public import InterruptSources
public import LinuxSystem
internal import SystemPackage
internal import VFIO

/// What VFIO tells of a device beside its interrupts.
public enum VFIODeviceEvent: String, Sendable, CaseIterable {
    /// The device reported an uncorrectable error (PCI Express Advanced Error Reporting), by VFIO_PCI_ERR_IRQ_INDEX.
    /// What became of it is not told.
    case error
    /// The host asks for the device back, because somebody unbinds its driver or removes it, by
    /// VFIO_PCI_REQ_IRQ_INDEX: at once, and every ten seconds until the device is closed.
    case request
}

// Events stand beside the interrupt types: they can be joined and parted whichever type is on, and outlive a switch of
// types and a reset of the device. Closing the device parts them.
extension VFIOInterrupts {
    /// Whether the device can tell of this. Errors: PCI Express devices, and from Linux 7.3 on every device.
    public func tells(of event: VFIODeviceEvent) throws(InterruptError) -> Bool {
        do {
            return try device.irqInfo(VFIOIRQIndex(event)).count > 0
        } catch {
            // The kernel does not know the index for such a device.
            if event == .error && error.errno == .invalidArgument { return false }
            throw .kernel(error)
        }
    }

    /// Lets the event signal `eventfd`, in place of one that it was joined to before. Throws EINVAL where the device
    /// cannot tell of it.
    public func join(_ event: VFIODeviceEvent, to eventfd: EventFD) throws(InterruptError) {
        try setTrigger(event, eventfd)
    }

    /// Ends that. Not joined is no error. Throws EINVAL where the device cannot tell of it.
    public func part(_ event: VFIODeviceEvent) throws(InterruptError) {
        try setTrigger(event, nil)
    }

    private func setTrigger(_ event: VFIODeviceEvent, _ eventfd: EventFD?) throws(InterruptError) {
        // With the lock of the types, so that the device's requests are made one at a time.
        try state.withLock { (_) throws(InterruptError) in
            do throws(KernelError) {
                _ = try device.setTriggers(VFIOIRQIndex(event), [eventfd])
            } catch {
                throw .kernel(error)
            }
        }
    }
}

extension VFIOIRQIndex {
    fileprivate init(_ event: VFIODeviceEvent) {
        switch event {
        case .error: self = .error
        case .request: self = .request
        }
    }
}
