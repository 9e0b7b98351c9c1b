internal import LinuxSystem
internal import Logging
internal import PCI
internal import Passthrough

/// A session that is being opened, or was, or could not be.
typealias SessionOpening = Task<Result<any DeviceSession, LeaseError>, Never>

/// Who has the session of one leased device: whoever is connected, and one at a time.
///
/// A session ends with its process, where the kernel can tell of that (Linux 6.5), even if a child of it still has the
/// connection; otherwise with its connection.
final class SessionGate: Sendable {
    private struct Connected: Sendable {
        let number: Int
        let peer: PeerCredentials
        let opening: SessionOpening
        var process: (descriptor: SharedDescriptor, registration: EventLoop.Registration)?
        var isEnding = false
    }

    let address: PCIAddress
    private let devices: any DeviceOperations
    private let loop: EventLoop
    private let logger: Logger
    private let connected = Lock<Connected?>(nil)
    private let lastNumber = Lock(0)
    private let disconnect = Lock<(@Sendable () -> Void)?>(nil)

    init(_ address: PCIAddress, devices: any DeviceOperations, on loop: EventLoop, logger: Logger) {
        (self.address, self.devices, self.loop, self.logger) = (address, devices, loop, logger)
    }

    /// `body` ends the connection, on the loop, when its session is over for another reason.
    func whenOver(_ body: @escaping @Sendable () -> Void) { disconnect.withLock { $0 = body } }

    /// Who is connected.
    var peer: PeerCredentials? { connected.withLock { $0?.peer } }

    /// The session of who is connected, which may be opening still.
    func session() async throws(LeaseError) -> any DeviceSession {
        guard let opening = connected.withLock({ $0?.opening }) else { throw .ended(address, .connectionClosed) }
        return try await opening.value.get()
    }

    /// Begins a session for who has connected, if nobody else has one. Returns nil if somebody has.
    func admit(_ socket: borrowing UnixSocket, from peer: PeerCredentials) throws(KernelError) -> SessionOpening? {
        if self.peer != nil { return nil }
        let process = try socket.peerProcess()
        let (devices, address) = (devices, address)
        let number = lastNumber.withLock { number in
            number += 1
            return number
        }
        let who = SessionPeer(processID: Int(peer.pid), user: peer.uid, group: peer.gid)
        let over: @Sendable () -> Void = { [weak self] in self?.over(number) }
        let opening = SessionOpening {
            do throws(LeaseError) {
                return .success(try await devices.beginSession(address, for: who, ended: over))
            } catch {
                return .failure(error)
            }
        }
        connected.withLock { $0 = Connected(number: number, peer: peer, opening: opening) }
        if let process { watch(SharedDescriptor(process)) }
        return opening
    }

    /// The connection is over. On the loop.
    func connectionEnded() { end(.connectionClosed) }

    private func watch(_ process: SharedDescriptor) {
        do throws(KernelError) {
            let registration = try loop.watch(process.rawValue, for: .readable) { [weak self] _ in
                self?.end(.processEnded)
            }
            connected.withLock { $0?.process = (process, registration) }
        } catch {
            logger.warning("the process of the session of \(address) cannot be watched: \(error)")
        }
    }

    /// Ends the session. On the loop.
    private func end(_ reason: SessionEndReason) {
        let found = connected.withLock { connected in
            defer {
                connected?.isEnding = true
                connected?.process = nil
            }
            return connected?.isEnding ?? true ? nil : connected
        }
        guard let found else { return }
        // Readable for good from now on, so it must not be watched any longer.
        if let process = found.process { loop.unwatch(process.registration) }
        let (devices, address) = (devices, address)
        Task {
            if case .success = await found.opening.value { await devices.endSession(address, reason) }
            over(found.number)
        }
    }

    /// The session of a connection is over, whoever ended it: so is the connection, before another is let in.
    private func over(_ number: Int) {
        loop.submit { [self] in
            let left = connected.withLock { connected in
                defer { if connected?.number == number { connected = nil } }
                return connected?.number == number ? connected : nil
            }
            guard let left else { return }
            if let process = left.process { loop.unwatch(process.registration) }
            disconnect.withLock { $0 }?()
        }
    }
}
