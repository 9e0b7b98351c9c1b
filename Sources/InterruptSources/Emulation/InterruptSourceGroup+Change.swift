internal import LinuxSystem

extension InterruptSourceGroup {
    /// Does what a guest's write asked for, all of it together. Where it throws the group is as it was, and the emulation
    /// is to be told:
    ///
    ///     if let change = msix.write(bytes, bar: 0, at: offset) {
    ///         do { try group.apply(change) } catch { msix.refused() }
    ///     }
    ///
    /// Throws what the call throws that the change stands for.
    public func apply(_ change: InterruptChange) throws(InterruptError) {
        try state.withLock { (state) throws(InterruptError) in try state.apply(change) }
    }
}

extension GroupState {
    fileprivate mutating func apply(_ change: InterruptChange) throws(InterruptError) {
        switch change {
        case .enable(let configurations): try enable(configurations)
        case .disable: try disable()
        case .update(let index, let configuration): try update(first: index, [configuration])
        case .masks(let masks): try apply(masks)
        }
    }

    private mutating func apply(_ masks: InterruptChange.Masks) throws(InterruptError) {
        try requireLife()
        for range in masks.masked.ranges { try require(range) }
        for range in masks.unmasked.ranges { try require(range) }
        let masked = VectorSet(in: VectorSet(masks.masked)) { !isMasked[$0] }
        try mask(masked)
        var replaced: [(index: Int, configuration: InterruptConfiguration)] = []
        do throws(InterruptError) {
            for (index, configuration) in masks.updates {
                try require(index)
                let old = configurations[index]
                try update(first: index, [configuration])
                replaced.append((index, old))
            }
            try unmask(VectorSet(masks.unmasked))
        } catch {
            for (index, configuration) in replaced.reversed() { try? update(first: index, [configuration]) }
            try? unmask(masked)
            throw error
        }
    }
}
