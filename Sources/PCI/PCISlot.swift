/// A physical slot as the firmware or a hot-plug controller names it (/sys/bus/pci/slots).
public struct PCISlot: Hashable, Sendable {
    /// Its name, often a number that is printed beside it.
    public let name: String
    private let domain: UInt32
    private let bus: UInt8
    /// Nil where the slot has the whole bus.
    private let device: UInt8?

    /// A slot for what is at `address`: `DDDD:BB:dd`, or `DDDD:BB` for a whole bus. Nil for anything else.
    public init?(name: String, address: String) {
        let isWholeBus = address.split(separator: ":", omittingEmptySubsequences: false).count == 2
        guard let first = PCIAddress(isWholeBus ? address + ":00.0" : address + ".0") else { return nil }
        (self.name, domain, bus) = (name, first.domain, first.bus)
        device = isWholeBus ? nil : first.device
    }

    /// Whether the function is plugged into it.
    public func holds(_ address: PCIAddress) -> Bool {
        address.domain == domain && address.bus == bus && (device.map { $0 == address.device } ?? true)
    }
}
