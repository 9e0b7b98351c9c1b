extension Wire {
    /// No such PCI function.
    public struct DeviceNotFound: VfiodError, Hashable {
        /// The name without the interface.
        public static let name = "DeviceNotFound"
        /// The device asked for.
        public var device: String

        /// Creates a value.
        public init(device: String) {
            self.device = device
        }
    }

    /// Blockers stand against the operation.
    public struct Refused: VfiodError, Hashable {
        /// The name without the interface.
        public static let name = "Refused"
        /// The device.
        public var device: String
        /// What was asked.
        public var operation: String
        /// What stands against it.
        public var blockers: [Blocker]

        /// Creates a value.
        public init(device: String, operation: String, blockers: [Blocker]) {
            self.device = device
            self.operation = operation
            self.blockers = blockers
        }
    }

    /// Another operation is running on the device.
    public struct DeviceBusy: VfiodError, Hashable {
        /// The name without the interface.
        public static let name = "DeviceBusy"
        /// The device.
        public var device: String
        /// What runs.
        public var operation: String
        /// The step it is at.
        public var step: String

        /// Creates a value.
        public init(device: String, operation: String, step: String) {
            self.device = device
            self.operation = operation
            self.step = step
        }
    }

    /// The device is not in the state that the operation needs.
    public struct WrongState: VfiodError, Hashable {
        /// The name without the interface.
        public static let name = "WrongState"
        /// The device.
        public var device: String
        /// The state it is in.
        public var state: String
        /// The state needed.
        public var needed: String
        /// One sentence.
        public var message: String

        /// Creates a value.
        public init(device: String, state: String, needed: String, message: String) {
            self.device = device
            self.state = state
            self.needed = needed
            self.message = message
        }
    }

    /// A kernel call failed.
    public struct KernelRefused: VfiodError, Hashable {
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
            self.device = device
            self.step = step
            self.call = call
            self.errno = errno
            self.hint = hint
        }
    }

    /// A step did not end in time.
    public struct StillRunning: VfiodError, Hashable {
        /// The name without the interface.
        public static let name = "StillRunning"
        /// The device.
        public var device: String
        /// What was asked.
        public var operation: String
        /// The step.
        public var step: String
        /// What holds it up.
        public var cause: String

        /// Creates a value.
        public init(device: String, operation: String, step: String, cause: String) {
            self.device = device
            self.operation = operation
            self.step = step
            self.cause = cause
        }
    }

    /// The host asked for the device back while an operation used it.
    public struct DeviceAskedBack: VfiodError, Hashable {
        /// The name without the interface.
        public static let name = "DeviceAskedBack"
        /// The device.
        public var device: String
        /// What ended early.
        public var operation: String

        /// Creates a value.
        public init(device: String, operation: String) {
            self.device = device
            self.operation = operation
        }
    }

    /// The device reported an uncorrectable error while an operation used it.
    public struct DeviceFailed: VfiodError, Hashable {
        /// The name without the interface.
        public static let name = "DeviceFailed"
        /// The device.
        public var device: String
        /// What ended early.
        public var operation: String

        /// Creates a value.
        public init(device: String, operation: String) {
            self.device = device
            self.operation = operation
        }
    }

    /// The device has no reset method of this name.
    public struct NoSuchResetMethod: VfiodError, Hashable {
        /// The name without the interface.
        public static let name = "NoSuchResetMethod"
        /// The device.
        public var device: String
        /// What was asked for.
        public var method: String
        /// What it has.
        public var available: [String]

        /// Creates a value.
        public init(device: String, method: String, available: [String]) {
            self.device = device
            self.method = method
            self.available = available
        }
    }

    /// A reset failed half-way, or the device did not come back whole.
    public struct DeviceQuarantined: VfiodError, Hashable {
        /// The name without the interface.
        public static let name = "DeviceQuarantined"
        /// The device.
        public var device: String
        /// What was seen.
        public var reason: String

        /// Creates a value.
        public init(device: String, reason: String) {
            self.device = device
            self.reason = reason
        }
    }

    /// Monitor tells no more.
    public struct MonitorEnded: VfiodError, Hashable {
        /// The name without the interface.
        public static let name = "MonitorEnded"
        /// events-lost or stopping.
        public var reason: String

        /// Creates a value.
        public init(reason: String) {
            self.reason = reason
        }
    }

    /// A self-test could not be run.
    public struct SelfTestUnavailable: VfiodError, Hashable {
        /// The name without the interface.
        public static let name = "SelfTestUnavailable"
        /// The device.
        public var device: String
        /// One sentence.
        public var message: String
        /// What to do about it.
        public var hint: String

        /// Creates a value.
        public init(device: String, message: String, hint: String) {
            self.device = device
            self.message = message
            self.hint = hint
        }
    }

    /// What was sent is no call.
    public struct ProtocolError: VfiodError, Hashable {
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
