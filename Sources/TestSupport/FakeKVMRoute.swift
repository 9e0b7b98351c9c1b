internal import CLinux
internal import InterruptSources
internal import LinuxSystem
internal import SystemPackage

/// An entry of a fake virtual machine's routing table (struct kvm_irq_routing_entry).
struct FakeKVMRoute {
    static let maximumCount = 4096

    let type: UInt32
    let flags: UInt32
    /// Chip and pin; or address low, high, data and device id.
    let words: [UInt32]

    /// What a pin has from the start.
    init(pin: UInt32) {
        type = UInt32(KVM_IRQ_ROUTING_IRQCHIP)
        flags = 0
        words = [UInt32(KVM_IRQCHIP_IOAPIC), pin, 0, 0]
    }

    /// An entry of KVM_SET_GSI_ROUTING, of `entry` words.
    init(_ entry: [UInt32], usesWideIDs: Bool) throws(KernelError) {
        (type, flags, words) = (entry[1], entry[2], Array(entry[4..<8]))
        var isValid = entry[0] < UInt32(FakeKVMRoute.maximumCount)
        if isMessage {
            isValid = isValid && flags & ~UInt32(KVM_MSI_VALID_DEVID) == 0 && !(usesWideIDs && words[1] & 0xff != 0)
        } else {
            let pins: UInt32 = words[0] == UInt32(KVM_IRQCHIP_IOAPIC) ? FakeIOAPIC.pins : 8
            isValid =
                isValid && type == UInt32(KVM_IRQ_ROUTING_IRQCHIP) && flags == 0 && words[0] <= 2 && words[1] < pins
        }
        if !isValid { throw KernelError("ioctl", .invalidArgument) }
    }

    var isMessage: Bool { type == UInt32(KVM_IRQ_ROUTING_MSI) }

    var message: InterruptMessage {
        InterruptMessage(
            address: UInt64(words[1]) << 32 | UInt64(words[0]), data: words[2],
            deviceID: flags & UInt32(KVM_MSI_VALID_DEVID) == 0 ? nil : words[3])
    }

    /// The pin of the IOAPIC that it leads to.
    var pin: UInt32? { !isMessage && words[0] == UInt32(KVM_IRQCHIP_IOAPIC) ? words[1] : nil }

    /// A message stands alone on its number; of the pins, one of each chip.
    func canShare(_ others: [FakeKVMRoute]) -> Bool {
        others.allSatisfy { !$0.isMessage && !isMessage && $0.words[0] != words[0] }
    }
}

extension FakeKVMMachine.State {
    /// KVM_SET_GSI_ROUTING: the whole table or nothing.
    mutating func setRouting(_ bytes: [UInt8]) throws(KernelError) {
        let invalid = KernelError("ioctl", .invalidArgument)
        let count = Int(bytes.word(at: 0) ?? 0)
        guard hasControllers, count <= FakeKVMRoute.maximumCount, bytes.word(at: 4) == 0 else { throw invalid }
        var table: [UInt32: [FakeKVMRoute]] = [:]
        for number in 0..<count {
            let entry = (0..<12).map { bytes.word(at: 8 + number * 48 + $0 * 4) ?? 0 }
            let route = try FakeKVMRoute(entry, usesWideIDs: usesWideIDs)
            guard route.canShare(table[entry[0], default: []]) else { throw invalid }
            table[entry[0], default: []].append(route)
        }
        routes = table
    }
}
