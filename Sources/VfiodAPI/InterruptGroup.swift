extension Wire {
    /// An interrupt source group.
    public struct InterruptGroup: Codable, Hashable, Sendable {
        /// intx, msi or msix.
        public var type: String
        /// Vectors it has.
        public var count: Int
        /// absent, configured or live.
        public var state: String
        /// Every vector of a live group.
        public var vectors: [InterruptVector]

        /// Creates a value.
        public init(type: String, count: Int, state: String, vectors: [InterruptVector]) {
            self.type = type
            self.count = count
            self.state = state
            self.vectors = vectors
        }
    }

    /// One vector.
    public struct InterruptVector: Codable, Hashable, Sendable {
        /// Its index in the group.
        public var index: Int
        /// Whether a notifier is connected at the host.
        public var wired: Bool
        /// Whether it is masked.
        public var masked: Bool
        /// Whether an interrupt waits for unmask.
        public var pending: Bool
        /// The host's interrupt number.
        public var hostInterrupt: Int?
        /// The host's count over all CPUs.
        public var hostCount: Int?

        /// Creates a value.
        public init(index: Int, wired: Bool, masked: Bool, pending: Bool, hostInterrupt: Int?, hostCount: Int?) {
            self.index = index
            self.wired = wired
            self.masked = masked
            self.pending = pending
            self.hostInterrupt = hostInterrupt
            self.hostCount = hostCount
        }
    }
}
