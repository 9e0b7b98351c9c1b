import Glibc
import InterruptSources
import LinuxSystem
import TestSupport

/// One device's groups, called by one thread while the device raises on another.
final class Race: Sendable {
    /// What has arrived at each vector, of whatever type.
    private struct Ledger {
        var arrived: [Int]
        var foreign: [String] = []
    }

    /// The last raise of each vector in this round: how much had arrived before it, and in which epoch it was.
    private struct Last: Sendable {
        var arrived: Int
        var epoch: Int
    }

    private struct State {
        var isRaising = true
        /// Counts the calls that forget what is pending, once before and once after each.
        var epoch = 0
        var raised: [Int]
        var last: [Int: Last] = [:]
    }

    private let device: FakeVFIODevice
    private let owner: DeviceInterrupts
    private let machine: FakeKVMMachine?
    private let types: [InterruptType]
    private let count: Int
    /// Where the number of vectors is fixed, what the device alone holds goes when more are needed.
    private let releases: Bool
    private let notifiers: [InterruptType: [EventFD]]
    private let numbers: [Range<Int>]
    private let ledger: Lock<Ledger>
    private let state: Lock<State>

    init(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        var variant = Variant()
        variant.hasSink = !random.once(in: 3)
        variant.blockCount = random.pick([1, 2, 4, 8])
        variant.tableCount = variant.blockCount
        variant.isLinux6dot5 = !random.once(in: 3)
        let bench = try ModelBench(variant)
        (device, owner, machine) = (bench.device(of: .table), bench.owner(of: .table), bench.machine)
        count = variant.tableCount
        releases = variant.isLinux6dot5
        types = random.pick([[.msi], [.msix], [.msi, .msix], [.legacy, .msi, .msix]])
        var notifiers: [InterruptType: [EventFD]] = [:]
        for (place, handedOut) in bench.notifiers {
            notifiers[place.type] = handedOut.sorted { $0.key < $1.key }.map(\.value)
        }
        self.notifiers = notifiers
        numbers = bench.groups.filter { $0.key.type != .legacy }.map { $0.value.base..<$0.value.base + $0.value.count }
        ledger = Lock(Ledger(arrived: Array(repeating: 0, count: count)))
        state = Lock(State(raised: Array(repeating: 0, count: count)))
        try enable(types[types.count - 1], &random)
    }

    // MARK: The device's thread

    func raise(seed: UInt64, _ raises: Int) {
        var random = SplitMix64(seed: seed)
        for _ in 0..<raises { raiseOnce(random.below(count)) }
        for vector in 0..<count {
            let last = Last(arrived: arrived()[vector], epoch: state.withLock { $0.epoch })
            let isTaken = raiseOnce(vector)
            state.withLock { $0.last[vector] = isTaken ? last : nil }
        }
        state.withLock { $0.isRaising = false }
    }

    @discardableResult
    private func raiseOnce(_ vector: Int) -> Bool {
        // Counted before, so that it never looks as if more had arrived.
        state.withLock { $0.raised[vector] += 1 }
        return device.raise(vector)
    }

    // MARK: The caller's thread

    func begin() { state.withLock { ($0.isRaising, $0.last) = (true, [:]) } }

    /// Calls the groups until the device has raised all of this round, and a little longer.
    func call(seed: UInt64) throws(Difference) {
        var random = SplitMix64(seed: seed)
        do {
            repeat { try callOnce(&random) } while state.withLock { $0.isRaising }
        } catch let difference as Difference {
            throw difference
        } catch {
            throw Difference("\(error)")
        }
    }

    private func callOnce(_ random: inout SplitMix64) throws {
        guard let type = owner.workingType, let group = owner.group(type) else {
            return try enable(random.pick(types), &random)
        }
        let first = random.below(group.count)
        let range = first..<min(first + 1 + random.below(3), group.count)
        switch random.below(16) {
        case 0..<8:
            try group.mask(range, releasing: releases && random.once(in: 4))
            try stayingSilent(range, type) {
                for _ in 0..<random.below(4) { sched_yield() }
                if random.once(in: 2) { try update(group, &random) }
            }
            try group.unmask(range)
        case 8..<10: for index in range { try group.mask(index) }
        case 10..<12: try group.unmask(range)
        case 12..<14: try update(group, &random)
        case 14:
            try forgetting { try group.disable() }
            try stayingSilent(0..<group.count, type) { sched_yield() }
            try forgetting { try enable(type, &random) }
        default: try forgetting { try enable(random.pick(types), &random) }
        }
        // What the call itself wrote arrives before the next one.
        _ = arrived()
    }

    /// Nothing may arrive at these vectors from here to the end of `body`.
    private func stayingSilent(_ range: Range<Int>, _ type: InterruptType, _ body: () throws -> Void) throws {
        if type == .legacy { return try body() }
        let before = arrived()[range]
        try body()
        let after = arrived()[range]
        if before != after { throw Difference("\(type) \(range): \(before) became \(after) while masked or off") }
    }

    private func forgetting(_ body: () throws -> Void) rethrows {
        state.withLock { $0.epoch += 1 }
        defer { state.withLock { $0.epoch += 1 } }
        try body()
    }

    private func update(_ group: InterruptSourceGroup, _ random: inout SplitMix64) throws {
        let index = random.below(group.count)
        try group.update(index, configuration(group.type, index, &random))
    }

    private func enable(_ type: InterruptType, _ random: inout SplitMix64) throws {
        if owner.workingType == type { return }
        let data = random
        try owner.switchTo(
            type,
            (0..<(type == .legacy ? 1 : count)).map { index in
                var same = data
                return configuration(type, index, &same)
            })
    }

    /// A message in which the vector can be read.
    private func configuration(
        _ type: InterruptType, _ index: Int, _ random: inout SplitMix64
    ) -> InterruptConfiguration {
        if type == .legacy { return InterruptConfiguration() }
        let data = UInt32(64 * (1 + random.below(3)) + index)
        return InterruptConfiguration(message: InterruptMessage(address: 0xfee0_0000, data: data), startsMasked: false)
    }

    // MARK: Between the rounds

    /// After the last raise of each vector there was a delivery, or there is one as soon as it is unmasked; then one
    /// more raise gives one more.
    func settle() throws {
        if owner.workingType == .legacy { try forgetting { try owner.switchTo(nil) } }
        if owner.workingType == nil {
            var random = SplitMix64(seed: 0)
            try forgetting { try enable(types[types.count - 1], &random) }
        }
        guard let type = owner.workingType, let group = owner.group(type) else { throw Difference("not live") }
        try group.unmask(0..<group.count)
        let (last, raised, epoch) = state.withLock { ($0.last, $0.raised, $0.epoch) }
        for (vector, arrived) in arrived().enumerated() {
            if arrived > raised[vector] { throw Difference("\(type) \(vector): \(arrived) of \(raised[vector])") }
            guard let last = last[vector], last.epoch == epoch else { continue }
            if arrived <= last.arrived { throw Difference("\(type) \(vector): the last of its raises is lost") }
        }
        for vector in 0..<count {
            var expected = arrived()
            expected[vector] += 1
            raiseOnce(vector)
            let now = arrived()
            if now != expected { throw Difference("\(type) \(vector) raised once: \(now), not \(expected)") }
            if try group.pendingState(vector) { throw Difference("\(type) \(vector) is pending and not masked") }
        }
        let foreign = ledger.withLock { $0.foreign }
        if !foreign.isEmpty { throw Difference("arrived at others: \(foreign)") }
    }

    /// Nothing is left over.
    func finish() throws {
        owner.destroy()
        if device.activeIndex != nil { throw Difference("left on") }
        if let machine, !machine.attached.isEmpty || !machine.messages.isEmpty { throw Difference("left in the VM") }
    }

    /// What has arrived at each vector since the start.
    private func arrived() -> [Int] {
        ledger.withLock { ledger in
            if let machine {
                for (arrival, count) in machine.arrivals() { take(arrival, count, &ledger) }
                for number in machine.lostEvents().keys { ledger.foreign.append("lost at \(number)") }
            } else {
                for type in [InterruptType.msi, .msix] {
                    for (vector, notifier) in (notifiers[type] ?? []).enumerated() {
                        ledger.arrived[vector] += Int(notifier.drain())
                    }
                }
            }
            return ledger.arrived
        }
    }

    private func take(_ arrival: FakeKVMMachine.Arrival, _ count: Int, _ ledger: inout Ledger) {
        let vector = Int(arrival.message?.data ?? 0) % 64
        if numbers.contains(where: { $0.contains(arrival.number) && arrival.number - $0.lowerBound == vector }) {
            ledger.arrived[vector] += count
            return
        }
        ledger.foreign.append("\(arrival)")
    }
}
