public import PCI

/// What Apply did, or would do, for one thing that the configuration asks of a device.
public struct AppliedProvision: Sendable {
    /// What is asked, by its name on the wire.
    public enum Action: String, Sendable {
        /// Bound to vfio-pci.
        case bind
        /// So many virtual functions.
        case virtualFunctions = "virtual-functions"
        /// No longer asked for: as it was before an earlier Apply.
        case restore
    }

    /// What came of it.
    public enum Outcome: Sendable {
        /// It was so already.
        case unchanged
        /// It is so now.
        case done
        /// It would become so, by these steps.
        case planned(Plan)
        /// It is not so.
        case failed(PassthroughError)
    }

    /// What the configuration calls the device, or did.
    public let name: String
    /// The device, nil if it was not found.
    public let address: PCIAddress?
    /// What is asked.
    public let action: Action
    /// What came of it.
    public let outcome: Outcome

    /// Creates a value.
    public init(name: String, address: PCIAddress?, action: Action, outcome: Outcome) {
        (self.name, self.address, self.action, self.outcome) = (name, address, action, outcome)
    }

    /// Whether nothing stands against it, so that the device may be kept from its driver at the next boot.
    public var isSound: Bool {
        if case .failed = outcome { false } else { true }
    }
}
