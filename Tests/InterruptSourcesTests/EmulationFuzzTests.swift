import InterruptSources
import TestSupport
import Testing

/// SplitMix64: the same numbers from the same seed.
private struct SeededNumbers: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ mixed >> 30) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ mixed >> 27) &* 0x94d0_49bb_1331_11eb
        return mixed ^ mixed >> 31
    }
}

/// What does not hold, at which step of which seed: enough to come back to it.
private struct Violation: Error, CustomStringConvertible {
    let description: String
}

private func require(_ condition: Bool, _ text: @autoclosure () -> String) throws {
    if !condition { throw Violation(description: text()) }
}

/// A group as simply as can be: what the changes asked for must leave it in the state that the guest reads.
private struct ModelGroup {
    /// Whether an update is for all vectors, masked or not.
    let isBlock: Bool
    var isLive = false
    var isMasked: [Bool] = []
    var messages: [InterruptMessage?] = []

    mutating func apply(_ change: InterruptChange) throws {
        switch change {
        case .enable(let configurations):
            try require(!isLive, "enabled while live")
            isLive = true
            try require(configurations.allSatisfy { $0.startsMasked != nil }, "a vector without mask")
            isMasked = configurations.map { $0.startsMasked ?? false }
            messages = configurations.map(\.message)
        case .disable:
            try require(isLive, "disabled while off")
            isLive = false
        case .update(let index, let configuration):
            try require(isLive && (isBlock || !isMasked[index]), "an update of vector \(index)")
            try require(messages[index] != configuration.message, "an update of vector \(index) to what it is")
            messages[index] = configuration.message
        case .masks(let masks):
            let (masked, unmasked) = (masks.masked.ranges.joined(), masks.unmasked.ranges.joined())
            try require(isLive && !(masked.isEmpty && unmasked.isEmpty), "masks that change nothing")
            try require(masked.allSatisfy { !isMasked[$0] }, "masked what is masked")
            try require(unmasked.allSatisfy { isMasked[$0] }, "unmasked what is unmasked")
            for index in masked { isMasked[index] = true }
            for (index, configuration) in masks.updates { messages[index] = configuration.message }
            for index in unmasked { isMasked[index] = false }
        }
    }
}

@Suite("Emulation under random accesses")
struct EmulationFuzzTests {
    private static let steps = 100_000

    // MARK: MSI-X

    @Test(
        "MSI-X: no access traps, what is read-only stays, and the group is in the state that the guest reads",
        arguments: [1, 3, 9, 65])
    func msix(_ count: Int) throws {
        let seed = 0x5eed_0000 + UInt64(count)
        var walk = try TableWalk(seed: seed, count: count)
        for step in 0..<EmulationFuzzTests.steps / 4 {
            do {
                try walk.take(step)
            } catch {
                Issue.record("seed \(seed), step \(step): \(error)")
                return
            }
        }
    }

    private struct TableWalk {
        var random: SeededNumbers
        var guest: GuestTable
        var group = ModelGroup(isBlock: false)
        /// Vectors with half a message, or one that the group refused.
        var unsettled: Set<Int> = []
        let fixed: [UInt8]

        init(seed: UInt64, count: Int) throws {
            random = SeededNumbers(state: seed)
            guest = try GuestTable(count: count)
            fixed = guest.msix.configuration(at: 0x70, 12)
        }

        mutating func take(_ step: Int) throws {
            let old = guest
            let isReset = step % 499 == 498
            let change = isReset ? guest.msix.reset() : access()
            if let change, step % 7 == 0, !isReset {
                guest.msix.refused()
                try require(guest.control == old.control, "control after refusal")
                for index in 0..<guest.msix.count {
                    try require(guest.word(index, 3) & 1 == old.word(index, 3) & 1, "mask of \(index) after refusal")
                }
                if case .update(let index, _) = change { unsettled.insert(index) }
            } else if let change {
                try group.apply(change)
                settle(change)
            }
            for index in 0..<guest.msix.count where guest.msix.message(of: index) != old.msix.message(of: index) {
                if !group.isLive || group.messages[index] != guest.msix.message(of: index) { unsettled.insert(index) }
            }
            try check(all: step % 64 == 0)
            try checkPendingBits()
        }

        /// One access of any kind, drawn so that most reach something.
        private mutating func access() -> InterruptChange? {
            let width = [1, 2, 3, 4, 4, 4, 5, 6, 7, 8, 8, 12, 16, 0].randomElement(using: &random) ?? 4
            let bytes = EmulatedAccess.bytes(random.next(), width)
            let end = GuestTable.table + UInt64(guest.msix.tableLength)
            switch Int.random(in: 0..<9, using: &random) {
            case 0: return guest.msix.writeConfiguration(bytes.span, at: .random(in: 0x68...0x80, using: &random))
            case 1:
                let (enable, mask) = (random.next() % 4 > 0, random.next() % 2 > 0)
                return guest.setControl(enable: enable, functionMask: mask)
            case 2, 3, 4:
                let index = Int.random(in: 0..<guest.msix.count, using: &random)
                let value = UInt32(truncatingIfNeeded: random.next())
                return guest.set(index, word: .random(in: 0...3, using: &random), value)
            case 5: return guest.msix.write(bytes.span, bar: 2, at: random.next())
            case 6: return guest.msix.write(bytes.span, bar: 2, at: .max - random.next() % 17)
            case 7: return guest.msix.write(bytes.span, bar: 2, at: GuestTable.pendingBits - 16 + random.next() % 33)
            default:
                let offset = UInt64.random(in: GuestTable.table - 16...end, using: &random)
                return guest.msix.write(bytes.span, bar: 2, at: offset)
            }
        }

        private mutating func settle(_ change: InterruptChange) {
            switch change {
            case .enable: unsettled = []
            case .disable: break
            case .update(let index, _): unsettled.remove(index)
            case .masks(let masks): unsettled.subtract(masks.unmasked.ranges.joined())
            }
        }

        private mutating func check(all: Bool) throws {
            var shown = guest.msix.configuration(at: 0x70, 12)
            try require(shown[3] & 0x3f == fixed[3], "table size")
            shown[3] = fixed[3]
            try require(shown == fixed, "read-only bytes \(shown)")
            try require(group.isLive == guest.msix.isEnabled, "Enable reads \(guest.msix.isEnabled)")
            guard group.isLive else { return }
            let one = Int.random(in: 0..<guest.msix.count, using: &random)
            for index in all ? 0..<guest.msix.count : one..<one + 1 {
                try require(guest.word(index, 0) & 3 == 0, "address of vector \(index)")
                try require(group.isMasked[index] == guest.msix.isMasked(index), "mask of vector \(index)")
                if group.isMasked[index] || unsettled.contains(index) { continue }
                try require(group.messages[index] == guest.msix.message(of: index), "message of vector \(index)")
            }
        }

        private mutating func checkPendingBits() throws {
            let waiting = random.next()
            let (width, distance) = (Int(random.next() % 10), Int(random.next() % 21))
            let read = guest.msix.read(bar: 2, at: GuestTable.pendingBits - 4 + UInt64(distance), width) {
                waiting >> UInt64($0 % 64) & 1 == 1
            }
            for (index, byte) in read.enumerated() {
                let position = distance + index - 4
                var expected = EmulatedAccess.filler
                if (0..<guest.msix.pendingBitsLength).contains(position) {
                    expected = (0..<8).reduce(0) { byte, bit in
                        let vector = 8 * position + bit
                        let isShown =
                            vector < guest.msix.count && guest.msix.isEnabled && guest.msix.isMasked(vector)
                            && waiting >> UInt64(vector % 64) & 1 == 1
                        return isShown ? byte | 1 << UInt8(bit) : byte
                    }
                }
                try require(byte == expected, "pending byte \(position)")
            }
        }
    }

    // MARK: MSI

    @Test(
        "MSI: no access traps, what is read-only stays, and the group is in the state that the guest reads",
        arguments: EmulatedMSITests.Layout.all)
    func msi(_ layout: EmulatedMSITests.Layout) throws {
        let seed = 0x5eed_1000 + UInt64(layout.length)
        var random = SeededNumbers(state: seed)
        var msi = try layout.capability(count: 8)
        let fixed = msi.configuration(at: 0x50, msi.length)
        var group = ModelGroup(isBlock: true)
        for step in 0..<EmulationFuzzTests.steps / 4 {
            do {
                try take(step, &msi, &group, &random, layout)
                let shown = msi.configuration(at: 0x50, msi.length)
                try require(
                    shown[0] == fixed[0] && shown[1] == fixed[1] && shown[2] & 0x8e == fixed[2] & 0x8e
                        && shown[3] == fixed[3] && shown[4] & 3 == 0, "read-only bits: \(shown)")
            } catch {
                Issue.record("seed \(seed), step \(step): \(error)")
                return
            }
        }
    }

    private func take(
        _ step: Int, _ msi: inout EmulatedMSI, _ group: inout ModelGroup, _ random: inout SeededNumbers,
        _ layout: EmulatedMSITests.Layout
    ) throws {
        let bytes = EmulatedAccess.bytes(random.next(), Int(random.next() % 10))
        let offset = random.next() % 20 == 0 ? .max - random.next() % 65 : 0x48 + random.next() % 0x29
        let old = msi.configuration(at: 0x50, msi.length)
        let change = msi.writeConfiguration(bytes.span, at: offset)
        if let change, step % 7 == 0 {
            msi.refused()
            try require(msi.configuration(at: 0x50, 4) == Array(old.prefix(4)), "control after \(change) was refused")
        } else if let change {
            try group.apply(change)
            try require(asksForWhatIsRead(change, msi, layout), "\(change)")
        }
        try require(group.isLive == msi.isEnabled, "Enable reads \(msi.isEnabled)")
        try require(msi.activeCount <= 8, "\(msi.activeCount) vectors")
        let mask = layout.masksVectors ? msi.configuration(at: 0x50 + layout.mask, 4).value : 0
        try require(mask <= 0xff, "mask bits \(mask)")
        if group.isLive {
            let masked = (0..<msi.activeCount).map { mask >> UInt64($0) & 1 == 1 }
            try require(group.isMasked == masked, "mask bits \(mask), group \(group.isMasked)")
        }
        if layout.masksVectors {
            let pending = msi.configuration(at: 0x54 + layout.mask, 4) { _ in true }.value
            let shown = group.isLive ? mask & (1 << UInt64(msi.activeCount) - 1) : 0
            try require(pending == shown, "pending bits \(pending)")
        }
    }

    private func asksForWhatIsRead(
        _ change: InterruptChange, _ msi: EmulatedMSI, _ layout: EmulatedMSITests.Layout
    ) -> Bool {
        let message = InterruptMessage(
            address: msi.configuration(at: 0x54, layout.is64Bit ? 8 : 4).value,
            data: UInt32(msi.configuration(at: 0x50 + layout.data, 2).value))
        return switch change {
        case .enable(let configurations): configurations.allSatisfy { $0.message == message }
        case .update(_, let configuration): configuration.message == message
        case .masks(let masks): masks.updates.values.allSatisfy { $0.message == message }
        case .disable: true
        }
    }
}
