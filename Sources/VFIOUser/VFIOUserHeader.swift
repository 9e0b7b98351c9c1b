/// What a message asks for (vfio-user specification, "Commands").
public enum VFIOUserCommand: UInt16, Sendable, CaseIterable {
    /// Agrees on a version and on limits.
    case version = 1
    /// Lets the device see memory of the client.
    case dmaMap = 2
    /// Takes that back.
    case dmaUnmap = 3
    /// What the device has.
    case deviceGetInfo = 4
    /// What one of its regions is like.
    case deviceGetRegionInfo = 5
    /// Descriptors whose signal is a write to a region.
    case deviceGetRegionIOFDs = 6
    /// What one of its interrupt indexes is like.
    case deviceGetIRQInfo = 7
    /// Wires interrupts.
    case deviceSetIRQs = 8
    /// Reads a region.
    case regionRead = 9
    /// Writes a region.
    case regionWrite = 10
    /// The server reads memory that the client did not give as a descriptor.
    case dmaRead = 11
    /// The server writes such memory.
    case dmaWrite = 12
    /// Resets the device.
    case deviceReset = 13
    /// Writes to several places.
    case regionWriteMulti = 15
    /// Features of the device, by number.
    case deviceFeature = 16
    /// Reads the state of a device that migrates.
    case migrationDataRead = 17
    /// Writes it.
    case migrationDataWrite = 18
}

/// The first 16 bytes of every message, in the host's byte order, which is little-endian here (vfio-user specification,
/// "Header").
public struct VFIOUserHeader: Hashable, Sendable {
    /// Bytes of a header.
    public static let size = 16

    private enum Flag {
        static let type: UInt32 = 0xf
        static let reply: UInt32 = 1
        static let noReply: UInt32 = 1 << 4
        static let error: UInt32 = 1 << 5
    }

    /// The sender's number for the message; a reply has that of what it answers.
    public let messageID: UInt16
    /// The command's number, which may be none of ``VFIOUserCommand``.
    public let command: UInt16
    /// Bytes of the whole message, this header among them.
    public let messageSize: UInt32
    private let flags: UInt32
    /// The error's number; 0 for none.
    public let errorNumber: UInt32

    /// Whether it asks for something; it answers, or is of no known kind, otherwise.
    public var isCommand: Bool { flags & Flag.type == 0 }
    /// Whether the sender wants no answer.
    public var wantsNoReply: Bool { flags & Flag.noReply != 0 }

    /// Reads a header. Nil for fewer than 16 bytes.
    public init?(_ bytes: [UInt8]) {
        var reader = PayloadReader(bytes)
        guard let messageID = reader.number(UInt16.self), let command = reader.number(UInt16.self),
            let messageSize = reader.number(UInt32.self), let flags = reader.number(UInt32.self),
            let errorNumber = reader.number(UInt32.self)
        else { return nil }
        (self.messageID, self.command, self.messageSize) = (messageID, command, messageSize)
        (self.flags, self.errorNumber) = (flags, errorNumber)
    }

    /// The header of an answer of this many bytes in all.
    public init(answering header: VFIOUserHeader, messageSize: UInt32, errorNumber: UInt32 = 0) {
        (messageID, command, self.messageSize) = (header.messageID, header.command, messageSize)
        flags = Flag.reply | (errorNumber == 0 ? 0 : Flag.error)
        self.errorNumber = errorNumber
    }

    /// The header of a command of this many bytes in all.
    public init(_ command: VFIOUserCommand, messageID: UInt16, messageSize: UInt32, wantsNoReply: Bool = false) {
        (self.messageID, self.command, self.messageSize) = (messageID, command.rawValue, messageSize)
        flags = wantsNoReply ? Flag.noReply : 0
        errorNumber = 0
    }

    /// As it is sent.
    public var bytes: [UInt8] {
        var writer = PayloadWriter()
        writer.add(messageID)
        writer.add(command)
        writer.add(messageSize)
        writer.add(flags)
        writer.add(errorNumber)
        return writer.bytes
    }
}
