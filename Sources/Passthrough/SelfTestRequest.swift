public import InterruptSources

/// What a self-test is to do.
public struct SelfTestRequest: Hashable, Sendable {
    /// The most raises per vector that may be asked for.
    public static let maximumCount = 1_000_000

    /// A way to break the relay on purpose, to see that the test notices.
    public enum Fault: String, Sendable, CaseIterable {
        /// The routes of the first two vectors are exchanged.
        case swapRoutes = "swap-routes"
        /// The last vector's irqfd is not attached.
        case dropIRQFD = "drop-irqfd"
        /// The second vector goes to the first one's guest vector.
        case shareVector = "share-vector"
        /// The guest's first virtual CPU does not run.
        case stopVCPU = "stop-vcpu"
    }

    /// The types to test, in this order; those the device lacks are left out.
    public var types: [InterruptType]
    /// How many vectors of each type, from 0; nil for all. At least 1.
    public var vectors: Int?
    /// How often each vector is raised, 1 to ``maximumCount``.
    public var count: Int
    /// The fault to inject, nil for none.
    public var fault: Fault?

    /// Creates a request.
    public init(types: [InterruptType], vectors: Int?, count: Int, fault: Fault?) {
        self.types = types
        self.vectors = vectors
        self.count = count
        self.fault = fault
    }
}

/// What a self-test saw of one type, raised one way.
public struct SelfTestReport: Hashable, Sendable {
    /// How the interrupts were raised.
    public enum Raiser: String, Sendable {
        /// By VFIO's loopback (VFIO_DEVICE_SET_IRQS with VFIO_IRQ_SET_DATA_NONE and ACTION_TRIGGER).
        case loopback
        /// By the device's own registers.
        case device
    }

    /// The interrupt type.
    public var type: InterruptType
    /// How they were raised.
    public var raiser: Raiser
    /// Vectors the device has.
    public var vectors: Int
    /// Vectors tested.
    public var tested: Int
    /// Interrupts raised.
    public var fired = 0
    /// Raises that arrived on their own vector.
    public var delivered = 0
    /// Raises that did not arrive on their own vector in time.
    public var lost = 0
    /// Arrivals that no raise accounts for: too many, or on another vector.
    public var spurious = 0
    /// The device's vectors that lost one, ascending.
    public var lostVectors: [Int] = []
    /// The device's vectors on which a spurious one arrived, ascending.
    public var spuriousVectors: [Int] = []
    /// Latency from the raise to the count seen in guest memory, microseconds; 0 if nothing arrived.
    public var latencyP50 = 0.0
    /// 99th percentile.
    public var latencyP99 = 0.0
    /// The largest.
    public var latencyMaximum = 0.0
    /// What a reader should know, such as the windows a large table was walked in.
    public var notes: [String] = []

    /// Creates an empty report.
    public init(type: InterruptType, raiser: Raiser, vectors: Int, tested: Int) {
        self.type = type
        self.raiser = raiser
        self.vectors = vectors
        self.tested = tested
    }

    /// Whether something was raised and nothing was lost or spurious.
    public var passed: Bool { fired > 0 && lost == 0 && spurious == 0 && delivered == fired }
}

/// An interrupt source group as an operator sees it.
public struct InterruptGroupState: Hashable, Sendable {
    /// The type.
    public var type: InterruptType
    /// Vectors it has.
    public var count: Int
    /// absent, configured or live.
    public var state: String
    /// Every vector of a live group; empty otherwise.
    public var vectors: [InterruptVectorState]

    /// Creates a state.
    public init(type: InterruptType, count: Int, state: String, vectors: [InterruptVectorState]) {
        self.type = type
        self.count = count
        self.state = state
        self.vectors = vectors
    }
}

/// One vector as an operator sees it.
public struct InterruptVectorState: Hashable, Sendable {
    /// Its index in the group.
    public var index: Int
    /// Whether a notifier is connected at the host.
    public var wired: Bool
    /// Whether it is masked.
    public var masked: Bool
    /// Whether an interrupt waits for unmask.
    public var pending: Bool
    /// The host's interrupt number, nil where not wired.
    public var hostInterrupt: Int?
    /// The host's count over all CPUs (/proc/interrupts).
    public var hostCount: Int?

    /// Creates a state.
    public init(index: Int, wired: Bool, masked: Bool, pending: Bool, hostInterrupt: Int?, hostCount: Int?) {
        self.index = index
        self.wired = wired
        self.masked = masked
        self.pending = pending
        self.hostInterrupt = hostInterrupt
        self.hostCount = hostCount
    }
}
