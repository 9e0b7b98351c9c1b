import InterruptSources
import LinuxSystem
import SystemPackage
import TestSupport
import Testing
import VFIO
import VFIOInterrupts

@testable import Passthrough

/// What the contract is held against: where interrupts come from. They always go into a guest on a real KVM.
enum Stand: String, CaseIterable, Sendable, CustomTestStringConvertible {
    /// A source without a device, on any machine that has KVM.
    case softwareLine, softwareBlock, softwareTable, softwareFixedTable
    /// Devices of the lab that raise their own interrupts.
    case eduLine, eduMessage, e1000eTable
    /// Devices of the lab whose interrupts VFIO raises for them (its loopback).
    case e1000eLine, e1000eMessage, nvmeTable, xhciBlock, igbvfTable

    var testDescription: String { rawValue }

    /// Those that this machine has to offer: in the lab all of them.
    static let here = allCases.filter { $0.device == nil || Requirements.vfioLab }
    static let messages = here.filter { $0.type != .legacy }
    static let tables = here.filter { $0.type == .msix }
    static let lines = here.filter { $0.type == .legacy }

    var device: LabDevice? {
        switch self {
        case .softwareLine, .softwareBlock, .softwareTable, .softwareFixedTable: nil
        case .eduLine, .eduMessage: .edu
        case .e1000eTable, .e1000eLine, .e1000eMessage: .e1000e
        case .nvmeTable: .nvme
        case .xhciBlock: .xhci
        case .igbvfTable: .igbvf
        }
    }

    var type: InterruptType {
        switch self {
        case .softwareLine, .eduLine, .e1000eLine: .legacy
        case .softwareBlock, .eduMessage, .e1000eMessage, .xhciBlock: .msi
        default: .msix
        }
    }

    /// Whether the device remembers what it could not send because its vector was never wired.
    var remembersUnwired: Bool { self == .softwareTable || raisesItself || type == .msi }

    fileprivate var raisesItself: Bool { [.eduLine, .eduMessage, .e1000eTable].contains(self) }

    /// How many vectors the stand has for a test that asks for `wanted`: a power of two for MSI.
    fileprivate func count(of source: any InterruptSource, _ wanted: Int) -> Int {
        let most = min(source.count, wanted)
        guard type == .msi else { return most }
        // Where interrupts are not remapped, the host has one vector for any block.
        if device != nil && !Stand.remapsInterrupts { return 1 }
        return 1 << (most.bitWidth - 1 - most.leadingZeroBitCount)
    }

    /// Whether the lab's host remaps interrupts: VFIO was told to do without only where it does not.
    static let remapsInterrupts =
        (try? readText("/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts")) != "Y"
}

/// What raises the interrupts of a stand.
protocol Raiser: Sendable {
    /// Raises one vector once, whether it is delivered or not. Returns how many messages that may have been: more than
    /// one where the device repeats what took it too long.
    @discardableResult func raise(_ vector: Int) throws -> Int
}

/// A group over one stand's source, which drives a guest that counts.
final class StandBench: Sendable {
    let stand: Stand
    let guest: CountingGuest
    let group: InterruptSourceGroup
    let source: any InterruptSource
    let raiser: any Raiser
    private let software: FakeInterruptSource?

    /// Opens the stand, with a group over `count` of its vectors or as many as it has, configured.
    convenience init(
        _ stand: Stand, count: Int = 8, vcpus: Int = 2, hostVectors: Int = .max, checksAddresses: Bool = true
    ) throws {
        guard let named = stand.device else {
            let software = FakeInterruptSource(
                stand.type, count: stand.type == .legacy ? 1 : stand.type == .msi ? 32 : 2048,
                grows: stand != .softwareFixedTable, hostVectors: hostVectors)
            try self.init(
                stand, software, SoftwareRaiser(source: software), software: software, registers: [], count, vcpus,
                checksAddresses)
            return
        }
        let device = try named.open()
        let source = try #require(try VFIOInterrupts(device).source(stand.type))
        let raiser: any Raiser
        switch (stand.raisesItself, named) {
        case (true, .edu): raiser = try RegisterRaiser(EduDevice(), device, stand.type)
        case (true, .e1000e): raiser = try RegisterRaiser(IntelE1000eDevice(), device, stand.type)
        case (false, .e1000e):
            // Its driver left it as it was, and it would raise its line by itself.
            try IntelE1000eDevice().quiesce(VFIORegisters(device))
            fallthrough
        default: raiser = LoopbackRaiser(device: device, index: VFIOIRQIndex(stand.type))
        }
        let registers = stand == .eduLine ? [try device.registers()] : []
        try self.init(
            stand, source, raiser, software: nil, registers: registers, count, vcpus, checksAddresses)
    }

    private init(
        _ stand: Stand, _ source: any InterruptSource, _ raiser: any Raiser, software: FakeInterruptSource?,
        registers: [SharedMapping], _ count: Int, _ vcpus: Int, _ checksAddresses: Bool
    ) throws {
        self.stand = stand
        self.source = source
        self.raiser = raiser
        self.software = software
        guest = try CountingGuest(vcpus: vcpus, registers: registers, checksAddresses: checksAddresses)
        // The handler of a line whose device it cannot reach waits for us.
        if stand == .softwareLine { guest.permit(0) }
        group = try InterruptSourceGroup(
            source: source, sink: guest.sink, count: stand.count(of: source, count),
            pin: stand.type == .legacy ? CountingGuest.pin : nil)
    }

    deinit { group.destroy() }

    /// A second group over the source, whose interrupts arrive as those of the first, which must not be live.
    func anotherGroup(count: Int) throws -> InterruptSourceGroup {
        try InterruptSourceGroup(
            source: source, sink: guest.sink, count: count, pin: stand.type == .legacy ? CountingGuest.pin : nil)
    }

    /// The slot on which vector `index` arrives, of `shifted` messages.
    func slot(_ index: Int, shift: Int = 0) -> Int { (index + shift) % guest.slots }

    /// One configuration per vector, that make vector i arrive on slot i + `shift`; of an MSI block, where that is a
    /// multiple of its size.
    func configurations(shift: Int = 0, masked: Bool? = nil) -> [InterruptConfiguration] {
        (0..<group.count).map { index in configuration(index, shift: shift, masked: masked) }
    }

    func configuration(_ index: Int, shift: Int = 0, masked: Bool? = nil) -> InterruptConfiguration {
        InterruptConfiguration(
            message: stand.type == .legacy ? nil : guest.message(slot(index, shift: shift)), startsMasked: masked)
    }

    /// How often vector `index` was delivered.
    func count(_ index: Int, shift: Int = 0) -> UInt32 {
        stand.type == .legacy ? guest.line : guest.count(slot(index, shift: shift))
    }

    /// All deliveries, whichever vector they were.
    var deliveries: Int { stand.type == .legacy ? Int(guest.line) : guest.counts.values.reduce(0) { $0 + Int($1) } }

    /// Raises a vector, and sees it delivered once, on its own slot and no other.
    func expectOne(
        _ index: Int, shift: Int = 0, _ raise: () throws -> Void, _ location: SourceLocation = #_sourceLocation
    ) throws {
        try expect(index, shift: shift, location) {
            try raise()
            return 1
        }
    }

    /// As ``expectOne(_:shift:_:_:)``, raised by the device.
    func expectRaised(_ index: Int, shift: Int = 0, _ location: SourceLocation = #_sourceLocation) throws {
        try expect(index, shift: shift, location) { try raiser.raise(index) }
    }

    private func expect(
        _ index: Int, shift: Int, _ location: SourceLocation, _ raise: () throws -> Int
    ) throws {
        let before = count(index, shift: shift)
        let total = deliveries
        let messages = try raise()
        let arrived = eventually { count(index, shift: shift) != before }
        #expect(arrived, "vector \(index) was not delivered", sourceLocation: location)
        try finishLine()
        try settle(messages)
        let delivered = Int(count(index, shift: shift) &- before)
        #expect((1...messages).contains(delivered), "vector \(index), of \(stand)", sourceLocation: location)
        #expect(deliveries == total + delivered, "after vector \(index), of \(stand)", sourceLocation: location)
    }

    /// Waits until what was raised is counted, all `messages` of it.
    private func settle(_ messages: Int) throws {
        // What a device repeats is on its way for a while.
        for _ in 0..<(messages > 1 ? 100 : 1) { try guest.fence() }
    }

    /// Sees that nothing has been delivered beyond `total`.
    func expectQuiet(_ total: Int, _ location: SourceLocation = #_sourceLocation) throws {
        try guest.fence()
        #expect(deliveries == total, sourceLocation: location)
    }

    /// Lets a level that was delivered end: what the guest's driver does where its handler cannot reach the device.
    func finishLine() throws {
        guard stand.type == .legacy else { return }
        let entered = guest.line
        if let software {
            software.setLine(asserted: false)
            guest.permit(entered)
            // VFIO watches this eventfd itself.
            _ = eventually { software.now.unmask?.isSignalled != false }
            software.settle()
        }
        #expect(eventually { guest.completed == guest.line }, "the handler did not end")
    }

    /// Takes the cause of a level away, which nobody handled.
    func withdraw() throws {
        software?.setLine(asserted: false)
        try (raiser as? RegisterRaiser)?.withdraw()
    }
}

/// Raises at a source without a device.
struct SoftwareRaiser: Raiser {
    let source: FakeInterruptSource

    func raise(_ vector: Int) -> Int {
        if source.type == .legacy { source.setLine(asserted: true) } else { source.raise(vector) }
        return 1
    }
}

/// Raises by VFIO's loopback, whatever its user thinks of the vector.
struct LoopbackRaiser: Raiser {
    let device: VFIODevice
    let index: VFIOIRQIndex

    func raise(_ vector: Int) throws -> Int {
        do throws(KernelError) {
            try device.trigger(index, first: vector, count: 1)
        } catch {
            // The type is off: a device would have raised nothing either.
            if error.errno != .invalidArgument { throw error }
        }
        return 1
    }
}

/// Raises by the device's own registers.
struct RegisterRaiser: Raiser {
    private let device: any TestDevice
    private let registers: VFIORegisters
    private let isLevel: Bool

    init(_ device: any TestDevice, _ opened: VFIODevice, _ type: InterruptType) throws {
        self.device = device
        registers = try VFIORegisters(opened)
        isLevel = type == .legacy
        try device.prepare(type, registers)
    }

    @discardableResult func raise(_ vector: Int) throws -> Int {
        try device.arm(vector, registers)
        let messages = try device.raise(vector, registers)
        // A message is sent; a level stays until the guest's handler takes it away.
        if !isLevel { try device.acknowledge(vector, registers) }
        return messages
    }

    func withdraw() throws { try device.acknowledge(0, registers) }
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
