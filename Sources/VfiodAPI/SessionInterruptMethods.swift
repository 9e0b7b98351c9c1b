public import Varlink

extension Session {
    /// Which notifiers of a type a call is about.
    public struct NotifierParameters: VarlinkParameters, Hashable {
        /// The names of all fields.
        public static let fields = ["type", "first", "count", "vectors"]
        /// intx, msi or msix.
        public var type: String
        /// The first vector.
        public var first: Int
        /// How many.
        public var count: Int
        /// How many vectors the type is to have.
        public var vectors: Int?

        /// Creates a value.
        public init(type: String, first: Int, count: Int, vectors: Int?) {
            (self.type, self.first, self.count, self.vectors) = (type, first, count, vectors)
        }
    }

    /// Which vector a call is about.
    public struct VectorParameters: VarlinkParameters, Hashable {
        /// The names of all fields.
        public static let fields = ["type", "vector"]
        /// intx, msi or msix.
        public var type: String
        /// Its index.
        public var vector: Int

        /// Creates a value.
        public init(type: String, vector: Int) {
            (self.type, self.vector) = (type, vector)
        }
    }

    /// Hands notifiers in.
    public enum SetNotifiers: SessionMethod {
        /// The name without the interface.
        public static let name = "SetNotifiers"
        /// Which; they come along.
        public typealias Parameters = NotifierParameters
        /// Nothing.
        public typealias Reply = NoParameters
    }

    /// Hands notifiers out.
    public enum GetNotifiers: SessionMethod {
        /// The name without the interface.
        public static let name = "GetNotifiers"
        /// Which.
        public typealias Parameters = NotifierParameters
        /// They come along.
        public typealias Reply = NoParameters
    }

    /// Hands out the eventfd that lets INTx fire again.
    public enum GetResampleNotifier: SessionMethod {
        /// The name without the interface.
        public static let name = "GetResampleNotifier"
        /// None.
        public typealias Parameters = NoParameters
        /// It comes along.
        public typealias Reply = NoParameters
    }

    /// Turns a type on.
    public enum Enable: SessionMethod {
        /// The name without the interface.
        public static let name = "Enable"
        /// Nothing.
        public typealias Reply = NoParameters

        /// What a call carries.
        public struct Parameters: VarlinkParameters, Hashable {
            /// The names of all fields.
            public static let fields = ["type", "vectors"]
            /// intx, msi or msix.
            public var type: String
            /// How many vectors the type is to have.
            public var vectors: Int?

            /// Creates a value.
            public init(type: String, vectors: Int?) {
                (self.type, self.vectors) = (type, vectors)
            }
        }
    }

    /// Turns a type off.
    public enum Disable: SessionMethod {
        /// The name without the interface.
        public static let name = "Disable"
        /// Nothing.
        public typealias Reply = NoParameters

        /// What a call carries.
        public struct Parameters: VarlinkParameters, Hashable {
            /// The names of all fields.
            public static let fields = ["type"]
            /// intx, msi or msix.
            public var type: String

            /// Creates a value.
            public init(type: String) {
                self.type = type
            }
        }
    }

    /// Masks a vector.
    public enum Mask: SessionMethod {
        /// The name without the interface.
        public static let name = "Mask"
        /// Which.
        public typealias Parameters = VectorParameters
        /// Nothing.
        public typealias Reply = NoParameters
    }

    /// Unmasks a vector.
    public enum Unmask: SessionMethod {
        /// The name without the interface.
        public static let name = "Unmask"
        /// Which.
        public typealias Parameters = VectorParameters
        /// Nothing.
        public typealias Reply = NoParameters
    }

    /// Signals a vector.
    public enum Trigger: SessionMethod {
        /// The name without the interface.
        public static let name = "Trigger"
        /// Which.
        public typealias Parameters = VectorParameters
        /// Nothing.
        public typealias Reply = NoParameters
    }
}
