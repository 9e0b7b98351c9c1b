import InterruptSources
import KVM
import KVMInterrupts
import LinuxSystem
import PCI
import TestSupport
import Testing
import VFIO
import VFIOInterrupts

/// The real stack over a fake kernel: the groups of two VFIO devices and, where the VM is ours, one KVM machine.
final class ModelBench {
    /// The IOAPIC's pin of both lines.
    static let pin = 16

    let variant: Variant
    let kernel = FakeKernel()
    let vfio: FakeVFIO
    let devices: [FakeVFIODevice]
    let machine: FakeKVMMachine?
    private let sink: KVMInterruptSink?
    private let owners: [DeviceInterrupts]
    /// The groups, also those that were destroyed.
    private(set) var groups: [Place: InterruptSourceGroup] = [:]
    /// The notifiers that somebody else has.
    private(set) var notifiers: [Place: [Int: EventFD]] = [:]
    /// Their numbers.
    private(set) var numbers: [Place: [Int: Int]] = [:]
    /// Notifiers that were replaced in this step.
    private var retired: [Place: [Int: EventFD]] = [:]

    /// `wrap` may put something between groups and sink, to see that it would be noticed.
    init(_ variant: Variant, wrap: (any InterruptSink) -> any InterruptSink = { $0 }) throws {
        self.variant = variant
        vfio = FakeVFIO(hostVectors: variant.hostVectors)
        kernel.install(vfio, at: "/dev/vfio/")
        let kvm = FakeKVM()
        kernel.install(kvm, at: "/dev/kvm")
        if variant.hasSink {
            let made = try KVMSystem(kernel: kernel).createVirtualMachine()
            try made.createInterruptControllers()
            if variant.hasWideAPICIDs { try made.enableWideAPICIDs() }
            try made.setRedirection(pin: ModelBench.pin, IOAPICRedirection(vector: 48, destination: 0, isLevel: true))
            (sink, machine) = (KVMInterruptSink(made, hasWideAPICIDs: variant.hasWideAPICIDs), kvm.machines.first)
        } else {
            (sink, machine) = (nil, nil)
        }
        let wrapped = sink.map { wrap($0) }
        var devices: [FakeVFIODevice] = []
        var owners: [DeviceInterrupts] = []
        for number in 0..<2 {
            let name = "0000:00:1\(number).0"
            let device = FakeVFIODevice(name, variant.device(hasMessages: number == 0))
            vfio.add(device, iommuGroup: number)
            devices.append(device)
            let opened = try VFIODevice.open(try #require(PCIAddress(name)), iommuGroup: number, kernel: kernel)
            let interrupts = VFIOInterrupts(opened)
            let sources = try InterruptType.allCases.compactMap { try interrupts.source($0) }
            owners.append(try DeviceInterrupts(sources, sink: wrapped, pin: wrapped == nil ? nil : ModelBench.pin))
        }
        devices[0].setAllocatable(variant.allocatable)
        (self.devices, self.owners) = (devices, owners)
        for place in Place.allCases { try create(place, count: .max) }
        kernel.forgetCalls()
    }

    /// The device of a group, and its owner.
    func device(of place: Place) -> FakeVFIODevice { devices[place == .otherLine ? 1 : 0] }
    func owner(of place: Place) -> DeviceInterrupts { owners[place == .otherLine ? 1 : 0] }

    func group(_ place: Place) throws -> InterruptSourceGroup { try #require(groups[place]) }

    /// How many vectors the device of a group has.
    func capacity(of place: Place) -> Int {
        switch place {
        case .line, .otherLine: 1
        case .block: variant.blockCount
        case .table: variant.tableCount
        }
    }

    /// Makes a group of the device's vectors, or of `count` if it has more.
    func create(_ place: Place, count: Int) throws {
        try owner(of: place).makeGroup(place.type, count: min(count, capacity(of: place)))
        try adopt(place)
    }

    /// Takes the group that the owner has now. Without a sink all its notifiers go out. Returns whether it is a new one.
    @discardableResult
    func adopt(_ place: Place) throws -> Bool {
        guard let group = owner(of: place).group(place.type), groups[place] !== group else { return false }
        groups[place] = group
        (notifiers[place], numbers[place]) = ([:], [:])
        if !variant.hasSink { for index in 0..<group.count { try handOut(place, index) } }
        return true
    }

    func destroy(_ place: Place) throws {
        owner(of: place).destroyGroup(place.type)
        try group(place).destroy()
    }

    func handOut(_ place: Place, _ index: Int) throws {
        guard let notifier = try group(place).notifier(index) else { return }
        if notifiers[place]?[index] === notifier { return }
        if notifiers[place]?[index] != nil { throw Difference("\(place) has another notifier for \(index)") }
        try note(notifier, place, index)
    }

    /// Vectors get notifiers that somebody else made, or their own again, which then go out if all do.
    func handIn(_ place: Place, _ range: Range<Int>, isForeign: Bool, counted: Bool) throws {
        let given = try range.map { _ in
            let notifier = isForeign ? try EventFD() : nil
            if counted { try notifier?.signal() }
            return notifier
        }
        let group = try group(place)
        if given.count == 1 {
            try group.setNotifier(range.lowerBound, given[0])
        } else {
            try group.setNotifiers(first: range.lowerBound, given)
        }
        for (index, notifier) in zip(range, given) {
            retired[place, default: [:]][index] = notifiers[place]?.removeValue(forKey: index)
            numbers[place]?[index] = nil
            if let notifier {
                try note(notifier, place, index)
            } else if !variant.hasSink {
                try handOut(place, index)
            }
        }
    }

    private func note(_ notifier: EventFD, _ place: Place, _ index: Int) throws {
        notifiers[place, default: [:]][index] = notifier
        numbers[place, default: [:]][index] = eventFDNumber(notifier)
    }

    /// What has arrived since the last call of this: by group and vector, how often, and with which message if a VM of
    /// ours has seen it. Throws for what arrived at no vector of a group.
    func arrivals() throws -> [Place: [Int: [InterruptMessage?: Int]]] {
        var arrived: [Place: [Int: [InterruptMessage?: Int]]] = [:]
        guard let machine else {
            for (place, notifiers) in notifiers {
                for (index, notifier) in notifiers {
                    let count = Int(notifier.drain()) + Int(retired[place]?[index]?.drain() ?? 0)
                    if count > 0 { arrived[place, default: [:]][index] = [nil: count] }
                }
            }
            retired = [:]
            return arrived
        }
        for (arrival, count) in machine.arrivals() {
            guard let place = owner(of: arrival.number), let base = groups[place]?.base else {
                throw Difference("arrived at nobody: \(arrival)")
            }
            arrived[place, default: [:]][arrival.number - base, default: [:]][arrival.message] = count
        }
        let lost = machine.lostEvents()
        if !lost.isEmpty { throw Difference("events on numbers without a route: \(lost)") }
        return arrived
    }

    /// The guest ends what it got from the lines: those of one pin together, or those whose notifiers went out.
    func end(_ inService: Set<Place>) throws {
        machine?.endOfInterrupt(ModelBench.pin)
        if machine != nil { return }
        for place in inService.sorted(by: { $0.rawValue < $1.rawValue }) {
            guard let group = groups[place], group.phase != .destroyed else { continue }
            try group.resampleNotifier()?.signal()
            device(of: place).settle()
        }
    }

    /// Destroys all groups. Throws if something of them is left in the kernel, or a number of the VM is missing.
    func destroyAll() throws {
        kernel.forgetCalls()
        for place in Place.allCases { try destroy(place) }
        for device in devices where device.activeIndex != nil || !device.triggers.isEmpty {
            throw Difference("left on after all: index \(device.activeIndex as Any) \(device.triggers)")
        }
        guard let machine, let sink else { return }
        if !machine.messages.isEmpty || !machine.attached.isEmpty {
            throw Difference("left in the VM after all: \(machine.messages) \(machine.attached)")
        }
        let room = KVMRoute.maximumCount - KVMRoute.defaults.count
        guard let first = try? sink.reserve(room) else { throw Difference("numbers left over") }
        sink.release(first..<first + room)
    }

    // MARK: What stands in the VM

    /// The messages of a group that the routing table has, by vector.
    func routes(of place: Place) -> [Int: InterruptMessage] {
        guard let machine, let base = groups[place]?.base, place.type != .legacy else { return [:] }
        let own = machine.messages.filter { owner(of: $0.key) == place }
        return Dictionary(uniqueKeysWithValues: own.map { ($0.key - base, $0.value) })
    }

    /// The eventfds that are attached to the vectors of a group; of a line, to its pin.
    func attached(of place: Place) -> [Int: Set<Int>] {
        guard let machine, let base = groups[place]?.base else { return [:] }
        let own = machine.attached.filter { place.type == .legacy ? $0.key == base : owner(of: $0.key) == place }
        return Dictionary(uniqueKeysWithValues: own.map { ($0.key - base, $0.value) })
    }

    /// The group that has this number, or had it last. A pin counts as the first line's.
    private func owner(of number: Int) -> Place? {
        let owners = Place.allCases.filter { place in
            groups[place].map { ($0.base..<$0.base + $0.count).contains(number) } ?? false
        }
        return owners.first { groups[$0]?.phase != .destroyed } ?? owners.first
    }
}

/// What a run showed that should not be.
struct Difference: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) { self.description = description }
}

extension Variant {
    /// The fake device of this variant.
    func device(hasMessages: Bool) -> FakeVFIODevice.Configuration {
        var device = FakeVFIODevice.Configuration(
            intxCount: 1, msiCount: hasMessages ? UInt32(blockCount) : 0,
            msixCount: hasMessages ? UInt32(tableCount) : 0)
        device.isLinux6dot5 = isLinux6dot5
        device.noticesLineWhenEnabled = noticesLineWhenEnabled
        device.configuration[4] = 4
        return device
    }
}
