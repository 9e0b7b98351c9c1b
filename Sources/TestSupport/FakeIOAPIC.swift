internal import CLinux

/// The IOAPIC of a fake virtual machine (arch/x86/kvm/ioapic.c), in the layout in which KVM_GET_IRQCHIP shows it.
struct FakeIOAPIC {
    /// What a pin sends to the local APICs.
    struct Message {
        let pin: UInt32
        let address: UInt32
        let data: UInt32
    }

    static let pins: UInt32 = 24
    private static let requests = 24
    private static let redirectionTable = 32
    private static let remoteRequest: UInt32 = 1 << 14
    private static let levelTriggered: UInt32 = 1 << 15
    private static let masked: UInt32 = 1 << 16

    /// A struct kvm_irqchip.
    private(set) var bytes = [UInt8](repeating: 0, count: 520)
    /// The pins that resample irqfds hold up.
    private var asserted: Set<UInt32> = []

    /// As after reset: every pin is masked.
    init() {
        bytes.setWord(UInt32(KVM_IRQCHIP_IOAPIC), at: 0)
        for pin in 0..<FakeIOAPIC.pins { setEntry(FakeIOAPIC.masked, of: pin) }
    }

    /// KVM_SET_IRQCHIP: what is requested then and not masked any more is sent.
    mutating func load(_ given: [UInt8]) -> [Message] {
        bytes = given
        let requested = bytes.word(at: FakeIOAPIC.requests) ?? 0
        return (0..<FakeIOAPIC.pins).filter { requested & 1 << $0 != 0 }.compactMap { send($0) }
    }

    /// An irqfd without resample: up and down again.
    mutating func pulse(_ pin: UInt32) -> Message? {
        let sent = isRequested(pin) && !isLevelTriggered(pin) ? nil : send(pin)
        request(pin, asserted.contains(pin))
        return sent
    }

    /// A resample irqfd: up, until the guest's EOI.
    mutating func raise(_ pin: UInt32) -> Message? {
        asserted.insert(pin)
        let wasRequested = isRequested(pin)
        request(pin, true)
        return wasRequested && !isLevelTriggered(pin) ? nil : send(pin)
    }

    /// Down again.
    mutating func lower(_ pin: UInt32) {
        asserted.remove(pin)
        request(pin, false)
    }

    /// Whether an EOI has something to end: the guest has taken a level of this pin.
    func isInService(_ pin: UInt32) -> Bool { entry(of: pin) & FakeIOAPIC.remoteRequest != 0 }

    /// The guest's EOI. What is still requested is sent again.
    mutating func end(_ pin: UInt32) -> Message? {
        setEntry(entry(of: pin) & ~FakeIOAPIC.remoteRequest, of: pin)
        return isRequested(pin) ? send(pin) : nil
    }

    private mutating func send(_ pin: UInt32) -> Message? {
        let low = entry(of: pin)
        if low & FakeIOAPIC.masked != 0 || low & FakeIOAPIC.remoteRequest != 0 { return nil }
        if isLevelTriggered(pin) { setEntry(low | FakeIOAPIC.remoteRequest, of: pin) }
        let high = bytes.word(at: FakeIOAPIC.redirectionTable + Int(pin) * 8 + 4) ?? 0
        return Message(pin: pin, address: (high >> 24) << 12, data: low & 0xff)
    }

    private func isLevelTriggered(_ pin: UInt32) -> Bool { entry(of: pin) & FakeIOAPIC.levelTriggered != 0 }

    private func isRequested(_ pin: UInt32) -> Bool {
        (bytes.word(at: FakeIOAPIC.requests) ?? 0) & 1 << pin != 0
    }

    private mutating func request(_ pin: UInt32, _ level: Bool) {
        let others = (bytes.word(at: FakeIOAPIC.requests) ?? 0) & ~(1 << pin)
        bytes.setWord(others | (level ? 1 << pin : 0), at: FakeIOAPIC.requests)
    }

    private func entry(of pin: UInt32) -> UInt32 { bytes.word(at: FakeIOAPIC.redirectionTable + Int(pin) * 8) ?? 0 }

    private mutating func setEntry(_ low: UInt32, of pin: UInt32) {
        bytes.setWord(low, at: FakeIOAPIC.redirectionTable + Int(pin) * 8)
    }
}
