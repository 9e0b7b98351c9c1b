internal import LinuxSystem

/// The interrupts of a function as its guest drives them: the emulated capabilities over the device's groups.
///
/// A VMM hands in every access of its guest to configuration space, and those to BARs that ``covers(bar:at:count:)``
/// names. What the guest writes is carried out before the call returns, and what it then reads is what is: a bit that
/// enables or masks reads as it was where the host refused it.
///
/// Of MSI-X and MSI, which a guest may have on at the same time, MSI-X is the working type, and of MSI and INTx it is
/// MSI; when the better one is turned off the next takes its place. INTx is on while neither is. The Command register
/// is no part of it: forwarded to VFIO, its INTx disable masks the line there.
///
/// Locks: this one's, then those of ``DeviceInterrupts``. Calls can come from any thread.
public final class EmulatedInterrupts: Sendable {
    /// The device's groups.
    public let interrupts: DeviceInterrupts
    private let state: Lock<State>

    private struct State: Sendable {
        var msi: EmulatedMSI?
        var msix: EmulatedMSIX?
    }

    /// Joins capabilities to groups of as many vectors, which are made here, and turns INTx on if the device has it.
    ///
    /// Throws what ``DeviceInterrupts/makeGroup(_:count:)`` and ``DeviceInterrupts/switchTo(_:_:)`` throw.
    public init(
        _ interrupts: DeviceInterrupts, msi: EmulatedMSI? = nil, msix: EmulatedMSIX? = nil
    ) throws(InterruptError) {
        if let msi { try interrupts.makeGroup(.msi, count: msi.count) }
        if let msix { try interrupts.makeGroup(.msix, count: msix.count) }
        self.interrupts = interrupts
        state = Lock(State(msi: msi, msix: msix))
        try reset()
    }

    /// The function was reset: the capabilities are as they were at first, and INTx is on if the device has it.
    public func reset() throws(InterruptError) {
        try state.withLock { (state) throws(InterruptError) in
            _ = state.msi?.reset()
            _ = state.msix?.reset()
            try interrupts.switchTo(nil)
            if interrupts.types.contains(.legacy) { try interrupts.switchTo(.legacy) }
        }
    }

    /// Fills in the bytes of a read of configuration space that are the capabilities'; the others are left.
    public func readConfiguration(at offset: UInt64, into bytes: inout MutableSpan<UInt8>) {
        state.withLock { state in
            state.msi?.readConfiguration(at: offset, into: &bytes) { isPending($0, .msi) }
            state.msix?.readConfiguration(at: offset, into: &bytes)
        }
    }

    /// Takes the bytes of a write to configuration space that are the capabilities'. Throws what the host refused.
    public func writeConfiguration(_ bytes: Span<UInt8>, at offset: UInt64) throws(InterruptError) {
        try state.withLock { (state) throws(InterruptError) in
            if let change = state.msi?.writeConfiguration(bytes, at: offset) {
                try carryOut(change, .msi, &state)
            }
            if let change = state.msix?.writeConfiguration(bytes, at: offset) {
                try carryOut(change, .msix, &state)
            }
        }
    }

    /// Whether an access to a BAR touches the MSI-X table or its Pending Bit Array.
    public func covers(bar: Int, at offset: UInt64, count: Int) -> Bool {
        state.withLock { $0.msix?.covers(bar: bar, at: offset, count: count) ?? false }
    }

    /// Fills in the bytes of a read of a BAR that are the table's or the Pending Bit Array's; the others are left.
    public func read(bar: Int, at offset: UInt64, into bytes: inout MutableSpan<UInt8>) {
        state.withLock { state in
            state.msix?.read(bar: bar, at: offset, into: &bytes) { isPending($0, .msix) }
        }
    }

    /// Takes a write to a BAR as far as it is for the table. Throws what the host refused.
    public func write(_ bytes: Span<UInt8>, bar: Int, at offset: UInt64) throws(InterruptError) {
        try state.withLock { (state) throws(InterruptError) in
            if let change = state.msix?.write(bytes, bar: bar, at: offset) { try carryOut(change, .msix, &state) }
        }
    }

    private func carryOut(
        _ change: InterruptChange, _ type: InterruptType, _ state: inout State
    ) throws(InterruptError) {
        if type == .msi && state.msix?.isEnabled == true { return }
        do throws(InterruptError) {
            switch change {
            case .enable(let configurations): try interrupts.switchTo(type, configurations)
            case .update, .masks: try interrupts.group(type)?.apply(change)
            case .disable:
                if type == .msix, let msi = state.msi, msi.isEnabled {
                    return try interrupts.switchTo(.msi, msi.configurations)
                }
                if !interrupts.types.contains(.legacy) { return try interrupts.switchTo(nil) }
            }
        } catch {
            if type == .msi { state.msi?.refused() } else { state.msix?.refused() }
            throw error
        }
        if case .disable = change { try fallBackToLine() }
    }

    /// Messages are off because the guest turned them off, whether the line can take their place or not.
    private func fallBackToLine() throws(InterruptError) {
        do throws(InterruptError) {
            try interrupts.switchTo(.legacy)
        } catch {
            try interrupts.switchTo(nil)
            throw error
        }
    }

    private func isPending(_ index: Int, _ type: InterruptType) -> Bool {
        (try? interrupts.group(type)?.pendingState(index)) ?? false
    }
}
