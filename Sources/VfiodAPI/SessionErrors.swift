extension Session {
    /// Somebody else's session has the device.
    public struct SessionInUse: SessionError, Hashable {
        /// The name without the interface.
        public static let name = "SessionInUse"
        /// The device.
        public var device: String
        /// The session's process.
        public var processId: Int
        /// Its user.
        public var uid: Int

        /// Creates a value.
        public init(device: String, processId: Int, uid: Int) {
            (self.device, self.processId, self.uid) = (device, processId, uid)
        }
    }

    /// No session can begin now.
    public struct NotReady: SessionError, Hashable {
        /// The name without the interface.
        public static let name = "NotReady"
        /// The device.
        public var device: String
        /// What it is.
        public var state: String
        /// One sentence.
        public var message: String

        /// Creates a value.
        public init(device: String, state: String, message: String) {
            (self.device, self.state, self.message) = (device, state, message)
        }
    }

    /// The session is over.
    public struct SessionEnded: SessionError, Hashable {
        /// The name without the interface.
        public static let name = "SessionEnded"
        /// The device.
        public var device: String
        /// Why.
        public var reason: String

        /// Creates a value.
        public init(device: String, reason: String) {
            (self.device, self.reason) = (device, reason)
        }
    }

    /// The range cannot be mapped or unmapped.
    public struct BadRange: SessionError, Hashable {
        /// The name without the interface.
        public static let name = "BadRange"
        /// Its stable code.
        public var reason: String
        /// One sentence.
        public var message: String

        /// Creates a value.
        public init(reason: String, message: String) {
            (self.reason, self.message) = (reason, message)
        }
    }

    /// What came is no memory, or too small.
    public struct BadMemory: SessionError, Hashable {
        /// The name without the interface.
        public static let name = "BadMemory"
        /// One sentence.
        public var message: String

        /// Creates a value.
        public init(message: String) {
            self.message = message
        }
    }

    /// The lease has as much as it may have.
    public struct LimitReached: SessionError, Hashable {
        /// The name without the interface.
        public static let name = "LimitReached"
        /// mappings or bytes.
        public var what: String
        /// How many.
        public var limit: Int

        /// Creates a value.
        public init(what: String, limit: Int) {
            (self.what, self.limit) = (what, limit)
        }
    }

    /// The interrupts are not wired as asked.
    public struct InterruptsRefused: SessionError, Hashable {
        /// The name without the interface.
        public static let name = "InterruptsRefused"
        /// Its stable code.
        public var reason: String
        /// One sentence.
        public var message: String

        /// Creates a value.
        public init(reason: String, message: String) {
            (self.reason, self.message) = (reason, message)
        }
    }

    /// A kernel call failed.
    public struct KernelRefused: SessionError, Hashable {
        /// The name without the interface.
        public static let name = "KernelRefused"
        /// The device.
        public var device: String
        /// The step.
        public var step: String
        /// The call.
        public var call: String
        /// The name of the error number.
        public var errno: String
        /// What to do about it.
        public var hint: String

        /// Creates a value.
        public init(device: String, step: String, call: String, errno: String, hint: String) {
            (self.device, self.step, self.call) = (device, step, call)
            (self.errno, self.hint) = (errno, hint)
        }
    }

    /// What was sent is no call.
    public struct ProtocolError: SessionError, Hashable {
        /// The name without the interface.
        public static let name = "ProtocolError"
        /// One clause.
        public var reason: String

        /// Creates a value.
        public init(reason: String) {
            self.reason = reason
        }
    }
}
