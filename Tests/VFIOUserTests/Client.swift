import LinuxSystem
import SystemPackage
import TestSupport
import Testing
import VFIOUser

/// Puts messages together as a client does.
enum Client {
    /// Little-endian bytes of numbers.
    static func bytes(_ numbers: any FixedWidthInteger...) -> [UInt8] {
        numbers.flatMap { littleEndian($0) }
    }

    private static func littleEndian<Number: FixedWidthInteger>(_ number: Number) -> [UInt8] {
        (0..<Number.bitWidth / 8).map { UInt8(truncatingIfNeeded: number >> ($0 * 8)) }
    }

    static func message(
        _ command: VFIOUserCommand, _ payload: [UInt8] = [], id: UInt16 = 7, wantsNoReply: Bool = false,
        _ descriptors: ReceivedDescriptors? = nil
    ) -> VFIOUserMessage {
        let size = UInt32(VFIOUserHeader.size + payload.count)
        return VFIOUserMessage(
            header: VFIOUserHeader(command, messageID: id, messageSize: size, wantsNoReply: wantsNoReply),
            payload: payload, descriptors: descriptors)
    }

    static func version(_ text: String? = "{}", major: UInt16 = 0, minor: UInt16 = 0) -> [UInt8] {
        bytes(major, minor) + (text.map { Array($0.utf8) + [0] } ?? [])
    }

    /// These descriptors, as they come through a socket.
    static func received(_ descriptors: [CInt]) throws -> ReceivedDescriptors? {
        try UnixSocket.pair(.stream).take { first, second in
            let sender = UnixSocket(adopting: first)
            let receiver = UnixSocket(adopting: second)
            return Result<ReceivedDescriptors?, KernelError> { () throws(KernelError) in
                _ = try sender.send([0], descriptors: descriptors)
                return try receiver.receive(limit: 1, closer: DescriptorCloser()).descriptors
            }
        }.get()
    }
}

/// The error of an answer, nil for none; fails if it is not to be an answer to `Client.message`.
func error(of answer: VFIOUserAnswer?) throws -> Errno? {
    let header = try #require(answer.flatMap { VFIOUserHeader($0.bytes) })
    #expect(!header.isCommand && header.messageID == 7 && header.messageSize == UInt32(answer?.bytes.count ?? 0))
    return header.errorNumber == 0 ? nil : Errno(rawValue: CInt(header.errorNumber))
}

/// What comes after the header of an answer that is no error.
func payload(of answer: VFIOUserAnswer?) throws -> [UInt8] {
    #expect(try error(of: answer) == nil)
    return Array((answer?.bytes ?? []).dropFirst(VFIOUserHeader.size))
}

/// What a session asked of its device.
final class RecordingDevice: VFIOUserDevice {
    private struct State {
        var calls: [String] = []
        var failure: Errno?
    }

    private let state = Lock(State())
    /// Nil for one that cannot be described.
    let description: VFIOUserDeviceDescription?

    init(_ description: VFIOUserDeviceDescription? = RecordingDevice.card) { self.description = description }

    /// A card with a BAR, configuration space and three types of interrupts.
    static let card: VFIOUserDeviceDescription = {
        var regions = [VFIOUserDeviceDescription.Region](repeating: .init(), count: 9)
        regions[0] = .init(size: 4096, isReadable: true, isWritable: true)
        regions[6] = .init(size: 65536, isReadable: true)
        regions[7] = .init(size: 256, isReadable: true, isWritable: true)
        return VFIOUserDeviceDescription(
            canReset: true, regions: regions,
            irqs: [
                .init(count: 1, isMaskable: true, isAutomasked: true), .init(count: 16),
                .init(count: 5, isResizable: true), .init(), .init(),
            ])
    }()

    var calls: [String] { state.withLock { $0.calls } }
    func fail(_ error: Errno?) { state.withLock { $0.failure = error } }

    private func note(_ call: String) throws(Errno) {
        try state.withLock { (state) throws(Errno) in
            state.calls.append(call)
            if let failure = state.failure { throw failure }
        }
    }

    func describe() async throws(Errno) -> VFIOUserDeviceDescription {
        guard let description else { throw .ioError }
        return description
    }

    func descriptor() async throws(Errno) -> SharedDescriptor {
        try note("descriptor")
        do throws(KernelError) {
            return SharedDescriptor(try openFile("/dev/null", .readWrite))
        } catch {
            throw error.errno
        }
    }

    func read(_ access: VFIOUserAccess, count: Int) async throws(Errno) -> [UInt8] {
        try note("read \(access.region)+\(access.offset) \(count)")
        return (0..<count).map { UInt8(truncatingIfNeeded: $0) }
    }

    func write(_ bytes: [UInt8], _ access: VFIOUserAccess) async throws(Errno) {
        try note("write \(access.region)+\(access.offset) \(bytes)")
    }

    func map(
        iova: UInt64, size: UInt64, _ memory: ReceivedDescriptors?, at offset: UInt64, isWritable: Bool
    ) async throws(Errno) {
        try note("map \(iova) \(size) \(offset) \(isWritable) \(memory?.rawValues.count ?? 0)")
    }

    func unmap(_ range: (iova: UInt64, size: UInt64)?) async throws(Errno) {
        try note("unmap \(range.map { "\($0.iova) \($0.size)" } ?? "all")")
    }

    func setIRQs(_ request: VFIOUserSetIRQs, _ eventfds: ReceivedDescriptors?) async throws(Errno) {
        try note(
            "irqs \(request.index) \(request.action) \(request.data) \(request.start)+\(request.count)"
                + " \(eventfds?.rawValues.count ?? 0)")
    }

    func reset() async throws(Errno) { try note("reset") }
}
