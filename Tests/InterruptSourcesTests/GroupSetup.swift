import InterruptSources
import LinuxSystem
import SystemPackage
import TestSupport
import Testing

/// The kinds of group that the contract is the same for.
enum GroupKind: String, CaseIterable, CustomTestStringConvertible {
    case line, lineHandedOut, block, blockHandedOut, table, tableHandedOut, fixedTable, fixedTableHandedOut

    var type: InterruptType {
        switch self {
        case .line, .lineHandedOut: .legacy
        case .block, .blockHandedOut: .msi
        default: .msix
        }
    }

    var hasSink: Bool { !rawValue.hasSuffix("HandedOut") }
    var grows: Bool { !rawValue.hasPrefix("fixed") }
    var testDescription: String { rawValue }

    static let messages = allCases.filter { $0.type != .legacy }
    static let tables = allCases.filter { $0.type == .msix }
    static let routed: [GroupKind] = [.block, .table, .fixedTable]
}

/// A group over a fake source and, where it has one, a fake sink.
struct GroupSetup {
    let kind: GroupKind
    let calls = ScriptedCalls()
    /// The eventfds that the group makes, by other names than the kernel calls, so that either can be told to fail.
    let eventFDs = MadeEventFDs()
    let source: FakeInterruptSource
    let sink: FakeInterruptSink
    let group: InterruptSourceGroup

    init(_ kind: GroupKind, count: Int = 4, hostVectors: Int = .max) throws {
        self.kind = kind
        source = FakeInterruptSource(
            kind.type, count: kind.type == .legacy ? 1 : count, grows: kind.grows, hostVectors: hostVectors,
            calls: calls)
        sink = FakeInterruptSink(calls: calls)
        group = try InterruptSourceGroup(
            source: source, sink: kind.hasSink ? sink : nil, count: nil,
            pin: kind.type == .legacy && kind.hasSink ? 11 : nil,
            newEventFD: { [eventFDs] () throws(KernelError) in try eventFDs.make() })
    }

    /// One configuration per vector, with the messages that MSI allows.
    func configurations(data: UInt32 = 0x40, masked: Bool? = nil) -> [InterruptConfiguration] {
        (0..<group.count).map { index in
            InterruptConfiguration(
                message: kind.type == .legacy
                    ? nil : InterruptMessage(address: 0xfee0_0000, data: data + UInt32(index)),
                startsMasked: masked)
        }
    }

    /// The vectors on which something was delivered since the last call, with how often it can be told: into a sink
    /// exactly, into a handed-out notifier only that it was.
    func deliveries() throws -> [Int: Int] {
        if kind.hasSink {
            return Dictionary(uniqueKeysWithValues: sink.deliveries().map { ($0.key - group.base, $0.value) })
        }
        var seen: [Int: Int] = [:]
        for index in 0..<group.count where try group.notifier(index)?.drain() ?? 0 > 0 { seen[index] = 1 }
        return seen
    }

    /// The device raises an interrupt: a message, or a level that the guest's handler clears and ends.
    func raise(_ index: Int) {
        if kind.type == .legacy { source.setLine(asserted: true) } else { source.raise(index) }
    }

    /// What the guest's handler of a level does.
    func handle() throws {
        guard kind.type == .legacy else { return }
        source.setLine(asserted: false)
        if kind.hasSink { sink.endOfInterrupt(11) } else { try group.resampleNotifier()?.signal() }
        source.settle()
    }

    /// All that a failed call must leave as it was.
    var standing: Standing {
        let now = source.now
        return Standing(
            snapshot: group.snapshot(), provided: source.growsWhileEnabled ? now.provided.map { _ in 0 } : now.provided,
            wired: now.wired.mapValues(\.rawValue),
            unmask: now.unmask?.rawValue, lineMasked: now.isLineMasked, routes: sink.routes, attached: sink.attachments)
    }

    struct Standing: Equatable {
        let snapshot: InterruptSnapshot
        /// Where vectors can be added, the host keeps what it once provided for until the type is off.
        let provided: Int?
        let wired: [Int: CInt]
        let unmask: CInt?
        let lineMasked: Bool
        let routes: [Int: InterruptRoute]
        let attached: [Int: Set<CInt>]
    }
}

/// Makes eventfds for a group, and knows how many of them are left.
final class MadeEventFDs: Sendable {
    private struct Weak: Sendable {
        weak var eventFD: EventFD?
    }

    let calls = ScriptedCalls()
    private let made = Lock<[Weak]>([])

    var count: Int { made.withLock { $0.count { $0.eventFD != nil } } }

    func make() throws(KernelError) -> EventFD {
        if calls.shouldFail("eventfd") { throw KernelError("eventfd", .tooManyOpenFiles) }
        let eventFD = try EventFD()
        made.withLock { $0.append(Weak(eventFD: eventFD)) }
        return eventFD
    }
}
