public import LinuxSystem
public import SystemPackage

/// One answer as it is sent.
public struct VFIOUserAnswer: Sendable {
    /// Header and payload.
    public let bytes: [UInt8]
    /// Goes with the first byte; a client looks for it there, and takes no second one.
    public let descriptor: SharedDescriptor?

    /// The answer to a message with this header.
    public init(to header: VFIOUserHeader, _ payload: [UInt8], _ descriptor: SharedDescriptor? = nil) {
        let size = UInt32(clamping: VFIOUserHeader.size + payload.count)
        bytes = VFIOUserHeader(answering: header, messageSize: size).bytes + payload
        self.descriptor = descriptor
    }

    /// An answer that is nothing but an error.
    public init(to header: VFIOUserHeader, refusing error: Errno) {
        bytes =
            VFIOUserHeader(
                answering: header, messageSize: UInt32(VFIOUserHeader.size),
                errorNumber: UInt32(bitPattern: error.rawValue)
            ).bytes
        descriptor = nil
    }
}
