public import Varlink

extension Session {
    /// What the device has.
    public enum Describe: SessionMethod {
        /// The name without the interface.
        public static let name = "Describe"

        /// None.
        public typealias Parameters = NoParameters

        /// What a reply carries.
        public struct Reply: Codable, Hashable, Sendable {
            /// Its address.
            public var device: String
            /// Whether it can be reset.
            public var canReset: Bool
            /// Those it has.
            public var regions: [Region]
            /// Vectors of INTx.
            public var intx: Int
            /// Vectors of MSI.
            public var msi: Int
            /// Vectors of MSI-X.
            public var msix: Int

            /// Creates a value.
            public init(device: String, canReset: Bool, regions: [Region], intx: Int, msi: Int, msix: Int) {
                (self.device, self.canReset, self.regions) = (device, canReset, regions)
                (self.intx, self.msi, self.msix) = (intx, msi, msix)
            }
        }
    }

    /// A region of the device's file.
    public struct Region: Codable, Hashable, Sendable {
        /// VFIO's index.
        public var index: Int
        /// Where it begins.
        public var offset: Int
        /// Bytes.
        public var size: Int
        /// Whether it can be read.
        public var readable: Bool
        /// Whether it can be written.
        public var writable: Bool
        /// Whether it can be mapped.
        public var mappable: Bool

        /// Creates a value.
        public init(index: Int, offset: Int, size: Int, readable: Bool, writable: Bool, mappable: Bool) {
            (self.index, self.offset, self.size) = (index, offset, size)
            (self.readable, self.writable, self.mappable) = (readable, writable, mappable)
        }
    }

    /// Returns a descriptor of the device.
    public enum OpenDevice: SessionMethod {
        /// The name without the interface.
        public static let name = "OpenDevice"
        /// None.
        public typealias Parameters = NoParameters
        /// The descriptor comes along.
        public typealias Reply = NoParameters
    }

    /// Resets the device.
    public enum Reset: SessionMethod {
        /// The name without the interface.
        public static let name = "Reset"
        /// None.
        public typealias Parameters = NoParameters
        /// Nothing.
        public typealias Reply = NoParameters
    }

    /// Lets the device see memory.
    public enum MapMemory: SessionMethod {
        /// The name without the interface.
        public static let name = "MapMemory"
        /// Nothing.
        public typealias Reply = NoParameters

        /// What a call carries.
        public struct Parameters: VarlinkParameters, Hashable {
            /// The names of all fields.
            public static let fields = ["iova", "size", "offset", "writable"]
            /// The device's address.
            public var iova: Int
            /// Bytes.
            public var size: Int
            /// Where it begins in the memory.
            public var offset: Int
            /// Whether the device may write it.
            public var writable: Bool

            /// Creates a value.
            public init(iova: Int, size: Int, offset: Int, writable: Bool) {
                (self.iova, self.size, self.offset, self.writable) = (iova, size, offset, writable)
            }
        }
    }

    /// Takes that back.
    public enum UnmapMemory: SessionMethod {
        /// The name without the interface.
        public static let name = "UnmapMemory"
        /// Nothing.
        public typealias Reply = NoParameters

        /// What a call carries.
        public struct Parameters: VarlinkParameters, Hashable {
            /// The names of all fields.
            public static let fields = ["iova", "size"]
            /// The device's address.
            public var iova: Int
            /// Bytes.
            public var size: Int

            /// Creates a value.
            public init(iova: Int, size: Int) {
                (self.iova, self.size) = (iova, size)
            }
        }
    }
}
