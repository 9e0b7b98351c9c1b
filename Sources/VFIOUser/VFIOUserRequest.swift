public import SystemPackage

/// What a client asks for, taken apart and checked as far as that goes without the device (vfio-user specification). The
/// error of what is not sound is EINVAL, as the reference server has it.
public enum VFIOUserRequest: Sendable {
    /// Agree on a version.
    case version(VFIOUserVersion)
    /// Let the device see `size` bytes from `offset` of the memory whose descriptor came along, if one did, at `iova`.
    case map(iova: UInt64, size: UInt64, offset: UInt64, isWritable: Bool)
    /// Take back what lies in this range; nil for all that there is. `echo`: what the answer repeats.
    case unmap((iova: UInt64, size: UInt64)?, echo: [UInt8])
    /// What the device has.
    case info
    /// What a region is like. `room`: how long an answer the client takes, bytes.
    case regionInfo(index: UInt32, room: UInt32)
    /// What an interrupt index is like.
    case irqInfo(index: UInt32)
    /// Wire interrupts.
    case setIRQs(VFIOUserSetIRQs)
    /// Read a region.
    case read(VFIOUserAccess, count: Int)
    /// Write a region.
    case write(VFIOUserAccess, [UInt8])
    /// Write to several places, in order.
    case writeMulti([(access: VFIOUserAccess, bytes: [UInt8])])
    /// Reset the device.
    case reset
}

/// Where a region is read or written.
public struct VFIOUserAccess: Hashable, Sendable {
    /// The region's index, as VFIO counts.
    public let region: UInt32
    /// From its begin.
    public let offset: UInt64

    /// Creates a place.
    public init(region: UInt32, offset: UInt64) {
        (self.region, self.offset) = (region, offset)
    }

    /// What an answer repeats of it.
    func place(_ count: Int) -> [UInt8] {
        var writer = PayloadWriter()
        writer.add(offset)
        writer.add(region)
        writer.add(UInt32(clamping: count))
        return writer.bytes
    }
}

/// VFIO_USER_DEVICE_SET_IRQS: what is to become of a range of interrupts.
public struct VFIOUserSetIRQs: Hashable, Sendable {
    /// What is done.
    public enum Action: UInt32, Sendable {
        /// Keep them from being delivered.
        case mask = 8
        /// Let them be delivered.
        case unmask = 16
        /// Raise them, or say whose eventfds they signal.
        case trigger = 32
    }

    /// By what.
    public enum Data: Hashable, Sendable {
        /// At once, all of the range.
        case none
        /// At once, those that are true.
        case flags([Bool])
        /// From now on, by the eventfds that came along; without any, by none.
        case eventfds
    }

    /// The interrupt index, as VFIO counts.
    public let index: UInt32
    /// The range.
    public let start: UInt32
    /// How many; 0 turns the index off.
    public let count: UInt32
    /// What is done.
    public let action: Action
    /// By what.
    public let data: Data

    /// Creates a request.
    public init(index: UInt32, start: UInt32, count: UInt32, action: Action, data: Data) {
        (self.index, self.start, self.count, self.action, self.data) = (index, start, count, action, data)
    }

    private static let size: UInt32 = 20
    private static let actions: UInt32 = 8 | 16 | 32
    private static let datas: UInt32 = 1 | 2 | 4

    init?(_ reader: inout PayloadReader) {
        guard let argsz = reader.number(UInt32.self), let flags = reader.number(UInt32.self),
            let index = reader.number(UInt32.self), let start = reader.number(UInt32.self),
            let count = reader.number(UInt32.self), argsz >= VFIOUserSetIRQs.size,
            flags & ~(VFIOUserSetIRQs.actions | VFIOUserSetIRQs.datas) == 0,
            let action = Action(rawValue: flags & VFIOUserSetIRQs.actions),
            !start.addingReportingOverflow(count).overflow
        else { return nil }
        let data: Data
        switch flags & VFIOUserSetIRQs.datas {
        case 1: data = .none
        case 2:
            guard count > 0, let number = Int(exactly: count), let bytes = reader.bytes(number) else { return nil }
            data = .flags(bytes.map { $0 != 0 })
        case 4:
            guard count > 0 else { return nil }
            data = .eventfds
        default: return nil
        }
        // No interrupts at all are a way to say that the index is to be turned off, and that alone.
        if count == 0, action != .trigger || start != 0 { return nil }
        self.init(index: index, start: start, count: count, action: action, data: data)
    }
}

extension VFIOUserRequest {
    private enum DMAFlag {
        static let readable: UInt32 = 1
        static let writable: UInt32 = 2
        // How the server is to reach the memory itself, which this one never does.
        static let access: UInt32 = 4 | 8
        static let all: UInt32 = 2
    }

    static let infoSize: UInt32 = 16
    static let regionInfoSize: UInt32 = 32
    private static let mapSize: UInt32 = 32
    private static let unmapSize: UInt32 = 24
    private static let multiLimit: UInt64 = 4096

    /// Takes a message apart. `transferLimit`: the most data of one read or write, bytes. Throws EINVAL for what is not
    /// sound, ENOTSUP for what this server does not do and says so, ENOTTY for features, of which there are none: that is
    /// what VFIO says of one that a device has not (VFIO_DEVICE_FEATURE).
    public init(_ message: VFIOUserMessage, transferLimit: Int) throws(Errno) {
        guard message.header.isCommand, let command = VFIOUserCommand(rawValue: message.header.command) else {
            throw .invalidArgument
        }
        let mayHaveDescriptors = command == .dmaMap || command == .deviceSetIRQs
        if !mayHaveDescriptors, message.descriptors != nil { throw .invalidArgument }
        var reader = PayloadReader(message.payload)
        let found: VFIOUserRequest? =
            switch command {
            case .version: VFIOUserVersion(message.payload).map { .version($0) }
            case .dmaMap: VFIOUserRequest.map(&reader)
            case .dmaUnmap: try VFIOUserRequest.unmap(&reader, message.payload)
            case .deviceGetInfo: VFIOUserRequest.info(&reader)
            case .deviceGetRegionInfo: VFIOUserRequest.regionInfo(&reader)
            case .deviceGetIRQInfo: VFIOUserRequest.irqInfo(&reader)
            case .deviceSetIRQs: VFIOUserSetIRQs(&reader).map { .setIRQs($0) }
            case .regionRead: VFIOUserRequest.read(&reader, transferLimit)
            case .regionWrite: VFIOUserRequest.write(&reader, transferLimit)
            case .regionWriteMulti: VFIOUserRequest.writeMulti(&reader)
            case .deviceReset: .reset
            case .deviceFeature: throw .inappropriateIOCTLForDevice
            case .deviceGetRegionIOFDs, .migrationDataRead, .migrationDataWrite: throw .notSupported
            // Only a server sends these.
            case .dmaRead, .dmaWrite: nil
            }
        guard let found, reader.count == 0 || command == .version else { throw .invalidArgument }
        self = found
    }

    private static func map(_ reader: inout PayloadReader) -> VFIOUserRequest? {
        guard let argsz = reader.number(UInt32.self), let flags = reader.number(UInt32.self),
            let offset = reader.number(UInt64.self), let iova = reader.number(UInt64.self),
            let size = reader.number(UInt64.self), argsz >= mapSize, size > 0,
            flags & ~(DMAFlag.readable | DMAFlag.writable | DMAFlag.access) == 0,
            flags & (DMAFlag.readable | DMAFlag.writable) != 0
        else { return nil }
        return .map(
            iova: iova, size: size, offset: offset,
            isWritable: flags & DMAFlag.writable != 0)
    }

    /// Throws ENOTSUP where the client wants to know which pages were written.
    private static func unmap(_ reader: inout PayloadReader, _ payload: [UInt8]) throws(Errno) -> VFIOUserRequest? {
        guard let argsz = reader.number(UInt32.self), let flags = reader.number(UInt32.self),
            let iova = reader.number(UInt64.self), let size = reader.number(UInt64.self), argsz >= unmapSize
        else { return nil }
        switch flags {
        case 0: return size > 0 ? .unmap((iova, size), echo: payload) : nil
        case DMAFlag.all: return iova == 0 && size == 0 ? .unmap(nil, echo: payload) : nil
        case 1: throw .notSupported
        default: return nil
        }
    }

    private static func info(_ reader: inout PayloadReader) -> VFIOUserRequest? {
        guard let argsz = reader.number(UInt32.self), reader.bytes(12) != nil, argsz >= infoSize else { return nil }
        return .info
    }

    private static func regionInfo(_ reader: inout PayloadReader) -> VFIOUserRequest? {
        guard let argsz = reader.number(UInt32.self), reader.number(UInt32.self) != nil,
            let index = reader.number(UInt32.self), reader.bytes(20) != nil, argsz >= regionInfoSize
        else { return nil }
        return .regionInfo(index: index, room: argsz)
    }

    private static func irqInfo(_ reader: inout PayloadReader) -> VFIOUserRequest? {
        guard let argsz = reader.number(UInt32.self), reader.number(UInt32.self) != nil,
            let index = reader.number(UInt32.self), reader.number(UInt32.self) != nil, argsz >= infoSize
        else { return nil }
        return .irqInfo(index: index)
    }

    private static func access(_ reader: inout PayloadReader) -> (VFIOUserAccess, count: Int)? {
        guard let offset = reader.number(UInt64.self), let region = reader.number(UInt32.self),
            let count = reader.number(UInt32.self), let number = Int(exactly: count), number > 0,
            !offset.addingReportingOverflow(UInt64(count)).overflow
        else { return nil }
        return (VFIOUserAccess(region: region, offset: offset), number)
    }

    private static func read(_ reader: inout PayloadReader, _ limit: Int) -> VFIOUserRequest? {
        guard let (access, count) = access(&reader), count <= limit else { return nil }
        return .read(access, count: count)
    }

    private static func write(_ reader: inout PayloadReader, _ limit: Int) -> VFIOUserRequest? {
        guard let (access, count) = access(&reader), count <= limit, let bytes = reader.bytes(count) else { return nil }
        return .write(access, bytes)
    }

    private static func writeMulti(_ reader: inout PayloadReader) -> VFIOUserRequest? {
        guard let count = reader.number(UInt64.self), (1...multiLimit).contains(count) else { return nil }
        var writes: [(access: VFIOUserAccess, bytes: [UInt8])] = []
        for _ in 0..<count {
            guard let (access, size) = access(&reader), size <= 8, let data = reader.bytes(8) else { return nil }
            writes.append((access, Array(data.prefix(size))))
        }
        return .writeMulti(writes)
    }
}
