extension Wire {
    /// A BAR or the expansion ROM.
    public struct Region: Codable, Hashable, Sendable {
        /// 0 to 5, 6 for the ROM.
        public var index: Int
        /// io or memory.
        public var space: String
        /// Hex digits.
        public var address: String
        /// In bytes.
        public var size: Int
        /// Whether it takes two BARs.
        public var wide: Bool
        /// Whether reads have no effect.
        public var prefetchable: Bool

        /// Creates a value.
        public init(index: Int, space: String, address: String, size: Int, wide: Bool, prefetchable: Bool) {
            self.index = index
            self.space = space
            self.address = address
            self.size = size
            self.wide = wide
            self.prefetchable = prefetchable
        }
    }

    /// A capability in configuration space.
    public struct Capability: Codable, Hashable, Sendable {
        /// Two hex digits, four for an extended one.
        public var id: String
        /// Whether it is one of PCI Express' extended ones.
        public var extended: Bool
        /// Where it begins.
        public var offset: Int
        /// What it is called.
        public var name: String?

        /// Creates a value.
        public init(id: String, extended: Bool, offset: Int, name: String?) {
            self.id = id
            self.extended = extended
            self.offset = offset
            self.name = name
        }
    }

    /// The PCI Express link above a device.
    public struct Link: Codable, Hashable, Sendable {
        /// As trained.
        public var speed: String
        /// Lanes, as trained.
        public var width: Int
        /// At its best.
        public var maxSpeed: String
        /// Lanes at its best.
        public var maxWidth: Int

        /// Creates a value.
        public init(speed: String, width: Int, maxSpeed: String, maxWidth: Int) {
            self.speed = speed
            self.width = width
            self.maxSpeed = maxSpeed
            self.maxWidth = maxWidth
        }
    }

    /// The command register.
    public struct Command: Codable, Hashable, Sendable {
        /// Answers in I/O space.
        public var io: Bool
        /// Answers in memory space.
        public var memory: Bool
        /// May do DMA.
        public var busMaster: Bool
        /// Must not assert INTx.
        public var intxDisabled: Bool

        /// Creates a value.
        public init(io: Bool, memory: Bool, busMaster: Bool, intxDisabled: Bool) {
            self.io = io
            self.memory = memory
            self.busMaster = busMaster
            self.intxDisabled = intxDisabled
        }
    }

    /// Addresses that no DMA mapping may use.
    public struct ReservedRegion: Codable, Hashable, Sendable {
        /// Hex digits.
        public var first: String
        /// Hex digits.
        public var last: String
        /// direct, direct-relaxable, msi or reserved.
        public var kind: String

        /// Creates a value.
        public init(first: String, last: String, kind: String) {
            self.first = first
            self.last = last
            self.kind = kind
        }
    }

    /// A process that has the device open.
    public struct Holder: Codable, Hashable, Sendable {
        /// The process.
        public var processId: Int
        /// What it runs.
        public var command: String
        /// Its systemd unit.
        public var unit: String?
        /// Its descriptors.
        public var descriptors: [Int]

        /// Creates a value.
        public init(processId: Int, command: String, unit: String?, descriptors: [Int]) {
            self.processId = processId
            self.command = command
            self.unit = unit
            self.descriptors = descriptors
        }
    }

    /// A function in an IOMMU group.
    public struct IOMMUGroupMember: Codable, Hashable, Sendable {
        /// Where it sits.
        public var address: String
        /// The driver it is bound to.
        public var driver: String?
        /// The member along with which vfiod bound it.
        public var onBehalfOf: String?

        /// Creates a value.
        public init(address: String, driver: String?, onBehalfOf: String? = nil) {
            self.address = address
            self.driver = driver
            self.onBehalfOf = onBehalfOf
        }
    }

    /// An operation that runs.
    public struct Operation: Codable, Hashable, Sendable {
        /// bind, restore, reset, release, selftest or close.
        public var name: String
        /// The step it is at.
        public var step: String
        /// When that step began, seconds since the epoch.
        public var since: Int
        /// What holds it up.
        public var note: String?

        /// Creates a value.
        public init(name: String, step: String, since: Int, note: String?) {
            self.name = name
            self.step = step
            self.since = since
            self.note = note
        }
    }
}
