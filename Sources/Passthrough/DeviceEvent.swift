public import PCI

/// A device as one who follows the devices is told of it.
public struct DeviceStatus: Sendable {
    /// The list's line.
    public let summary: DeviceSummary
    /// How many virtual functions it has, nil if it is no physical function.
    public let virtualFunctions: Int?
    /// The operation that runs on it.
    public let operation: OperationState?
    /// What has come to stand against the use of a bound device.
    public let drift: [Blocker]

    /// Creates a status.
    public init(
        summary: DeviceSummary, virtualFunctions: Int? = nil, operation: OperationState? = nil, drift: [Blocker] = []
    ) {
        self.summary = summary
        self.virtualFunctions = virtualFunctions
        self.operation = operation
        self.drift = drift
    }
}

/// Something that happened to a device. A class, so that it is there once however many wait for it.
public final class DeviceEvent: Sendable {
    /// What happened, by its name on the wire.
    public enum Kind: String, Sendable, CaseIterable {
        /// It has come to the host.
        case added
        /// Something that its status says is different now.
        case changed
        /// It was removed from the host.
        case removed
        /// An operation on it was begun.
        case operationBegun = "operation-begun"
        /// An operation has come to its next step, or it was found what holds it up.
        case operationStep = "operation-step"
        /// An operation on it has ended.
        case operationEnded = "operation-ended"
        /// Something has come to stand against the use of a bound device.
        case driftBegun = "drift-begun"
        /// It does not stand against it any more.
        case driftEnded = "drift-ended"
    }

    /// What happened.
    public let kind: Kind
    /// The device.
    public let address: PCIAddress
    /// The device after the event; nil where it is not in the list, and where the event does not change it.
    public let status: DeviceStatus?
    /// The operation that the event is about, as far as it has come.
    public let operation: OperationState?
    /// Why an operation that has ended failed, nil if it did not.
    public let failure: PassthroughError?
    /// The drift that the event is about.
    public let drift: Blocker?

    /// Creates an event.
    public init(
        _ kind: Kind, _ address: PCIAddress, status: DeviceStatus? = nil, operation: OperationState? = nil,
        failure: PassthroughError? = nil, drift: Blocker? = nil
    ) {
        (self.kind, self.address, self.status) = (kind, address, status)
        (self.operation, self.failure, self.drift) = (operation, failure, drift)
    }
}

/// The devices as they are, and what happens to them from then on.
public struct DeviceFeed: Sendable {
    /// Every PCI function of the host, in the order of addresses.
    public let devices: [DeviceStatus]
    /// Ends when more events wait than the queue has room for: whoever follows is not up to date any more then.
    public let events: AsyncStream<DeviceEvent>

    /// Creates a feed.
    public init(devices: [DeviceStatus], events: AsyncStream<DeviceEvent>) {
        (self.devices, self.events) = (devices, events)
    }
}
