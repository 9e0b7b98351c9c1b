extension Wire {
    /// What a self-test saw of one interrupt type, raised one way.
    public struct SelfTestReport: Codable, Hashable, Sendable {
        /// intx, msi or msix.
        public var type: String
        /// loopback or device.
        public var raisedBy: String
        /// Vectors the device has.
        public var vectors: Int
        /// Vectors tested.
        public var tested: Int
        /// Interrupts raised.
        public var fired: Int
        /// Raises that arrived on their own vector.
        public var delivered: Int
        /// Raises that did not.
        public var lost: Int
        /// Arrivals that no raise accounts for.
        public var spurious: Int
        /// Vectors that lost one.
        public var lostVectors: [Int]
        /// Vectors with a spurious one.
        public var spuriousVectors: [Int]
        /// Median latency, microseconds.
        public var latencyP50: Double
        /// 99th percentile, microseconds.
        public var latencyP99: Double
        /// The largest, microseconds.
        public var latencyMax: Double
        /// What a reader should know.
        public var notes: [String]

        /// Creates a value.
        public init(
            type: String, raisedBy: String, vectors: Int, tested: Int, fired: Int, delivered: Int, lost: Int,
            spurious: Int, lostVectors: [Int], spuriousVectors: [Int], latencyP50: Double, latencyP99: Double,
            latencyMax: Double, notes: [String]
        ) {
            self.type = type
            self.raisedBy = raisedBy
            self.vectors = vectors
            self.tested = tested
            self.fired = fired
            self.delivered = delivered
            self.lost = lost
            self.spurious = spurious
            self.lostVectors = lostVectors
            self.spuriousVectors = spuriousVectors
            self.latencyP50 = latencyP50
            self.latencyP99 = latencyP99
            self.latencyMax = latencyMax
            self.notes = notes
        }
    }
}
