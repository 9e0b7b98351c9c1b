import InterruptSources
import LinuxSystem
import TestSupport
import Testing

/// A fake device with all three types, and the owner of its groups.
struct DeviceSetup {
    let calls: ScriptedCalls
    let sink: FakeInterruptSink
    let hasSink: Bool
    let sources: [InterruptType: FakeInterruptSource]
    let owner: DeviceInterrupts

    /// A device in the VM behind `sink`, nil for one of its own, on pin 11 there. Of `limits` no more host vectors can
    /// be had.
    init(
        hasSink: Bool = true, sink: FakeInterruptSink? = nil, calls: ScriptedCalls = .init(),
        counts: [InterruptType: Int] = [.legacy: 1, .msi: 4, .msix: 4], limits: [InterruptType: Int] = [:]
    ) throws {
        self.calls = calls
        self.sink = sink ?? FakeInterruptSink(calls: calls)
        self.hasSink = hasSink
        let device = FakeWorkingType()
        var sources: [InterruptType: FakeInterruptSource] = [:]
        for (type, count) in counts {
            sources[type] = FakeInterruptSource(
                type, count: count, hostVectors: limits[type] ?? .max, calls: calls, device: device)
        }
        self.sources = sources
        owner = try DeviceInterrupts(Array(sources.values), sink: hasSink ? self.sink : nil, pin: hasSink ? 11 : nil)
    }

    func configurations(_ type: InterruptType, masked: Bool? = nil) -> [InterruptConfiguration] {
        (0..<(sources[type]?.count ?? 0)).map { index in
            InterruptConfiguration(
                message: type == .legacy
                    ? nil : InterruptMessage(address: 0xfee0_0000, data: 0x40 + UInt32(index)),
                startsMasked: masked)
        }
    }

    func switchTo(_ type: InterruptType?) throws {
        try owner.switchTo(type, type.map { configurations($0) })
    }

    func raise(_ type: InterruptType, _ index: Int) {
        if type == .legacy { sources[type]?.setLine(asserted: true) } else { sources[type]?.raise(index) }
    }

    /// The device takes its level away and the guest ends it.
    func handle() throws {
        guard let line = sources[.legacy] else { return }
        line.setLine(asserted: false)
        if hasSink { sink.endOfInterrupt(11) } else { try owner.group(.legacy)?.resampleNotifier()?.signal() }
        line.settle()
    }

    /// What arrived since the last call, by vector of the group of `type`.
    func deliveries(_ type: InterruptType) throws -> [Int: Int] {
        guard let group = owner.group(type) else { return [:] }
        if hasSink {
            return Dictionary(uniqueKeysWithValues: sink.deliveries().map { ($0.key - group.base, $0.value) })
        }
        var seen: [Int: Int] = [:]
        for index in 0..<group.count where try group.notifier(index)?.drain() ?? 0 > 0 { seen[index] = 1 }
        return seen
    }

    /// All that a failed switch must leave as it was.
    var standing: Standing {
        Standing(
            workingType: owner.workingType,
            groups: InterruptType.allCases.reduce(into: [:]) { $0[$1] = owner.group($1)?.snapshot() },
            wired: sources.mapValues { $0.now.wired.mapValues(\.rawValue) },
            on: Set(sources.values.filter { $0.now.provided != nil }.map(\.type)),
            unmask: sources[.legacy]?.now.unmask?.rawValue, lineMasked: sources[.legacy]?.now.isLineMasked,
            routes: sink.routes.filter { $0.value != .pin }, attached: sink.attachments, reserved: sink.reservedCount)
    }

    struct Standing: Equatable {
        let workingType: InterruptType?
        let groups: [InterruptType: InterruptSnapshot]
        let wired: [InterruptType: [Int: CInt]]
        let on: Set<InterruptType>
        let unmask: CInt?
        let lineMasked: Bool?
        let routes: [Int: InterruptRoute]
        let attached: [Int: Set<CInt>]
        let reserved: Int
    }
}
