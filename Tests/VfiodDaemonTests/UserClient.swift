import LinuxSystem
import Passthrough
import SystemPackage
import TestSupport
import Testing
import VFIOUser

@testable import VfiodDaemon

extension LeaseSocket {
    func connectUser() throws -> UserClient { try UserClient(path) }

    /// A client that has agreed on a version, and its session.
    func begin() async throws -> (UserClient, InMemorySession) {
        let client = try connectUser()
        let text = Array(#"{"capabilities":{"max_msg_fds":16}}"#.utf8)
        _ = try await client.ask(.version, [0, 0, 0, 0] + text + [0])
        return (client, try #require(await devices.sessions[address]))
    }
}

/// A client. Its calls block.
final class UserClient: Sendable {
    private let socket: UnixSocket
    // One to send and one to receive: what a server does not take must not keep its answers from us.
    private let sender: BlockingLane
    private let receiver: BlockingLane
    private let closer = DescriptorCloser()
    private let lastID = Lock<UInt16>(0)

    init(_ path: String) throws {
        socket = try UnixSocket(connectingTo: path)
        sender = try BlockingLane(name: "client sends")
        receiver = try BlockingLane(name: "client receives")
    }

    /// Little-endian bytes of numbers.
    static func bytes(_ numbers: any FixedWidthInteger...) -> [UInt8] {
        numbers.flatMap { littleEndian($0) }
    }

    private static func littleEndian<Number: FixedWidthInteger>(_ number: Number) -> [UInt8] {
        (0..<Number.bitWidth / 8).map { UInt8(truncatingIfNeeded: number >> ($0 * 8)) }
    }

    func send(_ bytes: [UInt8], _ descriptors: [CInt] = []) async throws {
        _ = try await sender.run { [self] () throws(KernelError) in try socket.send(bytes, descriptors: descriptors) }
    }

    func send(
        _ command: VFIOUserCommand, _ payload: [UInt8] = [], _ descriptors: [CInt] = [], wantsNoReply: Bool = false
    ) async throws {
        let id = lastID.withLock { id in
            id &+= 1
            return id
        }
        let size = UInt32(VFIOUserHeader.size + payload.count)
        let header = VFIOUserHeader(command, messageID: id, messageSize: size, wantsNoReply: wantsNoReply)
        try await send(header.bytes + payload, descriptors)
    }

    /// The next answer; nil at the end of the connection.
    func receive() async throws -> (header: VFIOUserHeader, payload: [UInt8], descriptors: Int)? {
        try await receiver.run { [self] () throws(KernelError) in
            var bytes: [UInt8] = []
            var descriptors = 0
            var size = VFIOUserHeader.size
            while bytes.count < size {
                let came: [UInt8]
                do throws(KernelError) {
                    let (read, sent, _) = try socket.receive(limit: size - bytes.count, closer: closer)
                    came = read
                    descriptors += sent?.rawValues.count ?? 0
                } catch {
                    if error.errno == .connectionReset { return nil }
                    throw error
                }
                if came.isEmpty { return nil }
                bytes += came
                if bytes.count == VFIOUserHeader.size, let header = VFIOUserHeader(bytes) {
                    size = Int(header.messageSize)
                }
            }
            return VFIOUserHeader(bytes).map { ($0, Array(bytes.dropFirst(VFIOUserHeader.size)), descriptors) }
        }
    }

    /// The payload of the answer.
    func ask(_ command: VFIOUserCommand, _ payload: [UInt8] = [], _ descriptors: [CInt] = []) async throws -> [UInt8] {
        try await send(command, payload, descriptors)
        let answer = try #require(try await receive())
        #expect(answer.header.errorNumber == 0 && answer.header.command == command.rawValue)
        return answer.payload
    }

    /// The error of the answer.
    func refusal(
        _ command: VFIOUserCommand, _ payload: [UInt8] = [], _ descriptors: [CInt] = []
    ) async throws -> Errno? {
        try await send(command, payload, descriptors)
        let answer = try #require(try await receive())
        return answer.header.errorNumber == 0 ? nil : Errno(rawValue: CInt(answer.header.errorNumber))
    }

    /// VFIO_DEVICE_SET_IRQS, by what `flags` say.
    static func irqs(_ flags: UInt32, _ index: UInt32, _ start: UInt32, _ count: UInt32) -> [UInt8] {
        bytes(UInt32(20), flags, index, start, count)
    }

    // VFIO_IRQ_SET_*: eventfds, or none of them, to trigger; nothing to trigger, mask and unmask; eventfds to unmask.
    static let wire: UInt32 = 0x24
    static let fire: UInt32 = 0x21
    static let mask: UInt32 = 0x09
    static let unmask: UInt32 = 0x11
    static let resample: UInt32 = 0x14
}
