internal import LinuxSystem

extension InterruptSourceGroup {
    /// Does what a guest's write asked for. Where it throws the group is as it was, and the emulation is to be told:
    ///
    ///     if let change = msix.write(bytes, bar: 0, at: offset) {
    ///         do { try group.apply(change) } catch { msix.refused() }
    ///     }
    public func apply(_ change: InterruptChange) throws(InterruptError) {
        try state.withLock { (state) throws(InterruptError) in try state.apply(change) }
    }
}

extension GroupState {
    mutating func apply(_ change: InterruptChange) throws(InterruptError) {
        switch change {
        case .enable(let configurations): try enable(configurations)
        case .disable: try disable()
        case .update(let index, let configuration): try update(index, configuration)
        case .masks(let masks): try apply(masks)
        }
    }

    private mutating func apply(_ masks: InterruptChange.Masks) throws(InterruptError) {
        var changed: [(range: Range<Int>, isMask: Bool)] = []
        do throws(InterruptError) {
            for range in masks.masked.ranges {
                try mask(range, releasing: false)
                changed.append((range, true))
            }
            for (index, configuration) in masks.updates { try update(index, configuration) }
            for range in masks.unmasked.ranges {
                try unmask(range)
                changed.append((range, false))
            }
        } catch {
            for (range, isMask) in changed.reversed() {
                if isMask { try? unmask(range) } else { try? mask(range, releasing: false) }
            }
            throw error
        }
    }
}
