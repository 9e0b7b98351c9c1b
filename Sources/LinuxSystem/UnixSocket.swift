internal import CLinux
internal import Glibc
internal import SystemPackage

/// Who is at the other end of a Unix socket, as the kernel recorded it at connect (SO_PEERCRED, unix(7)).
public struct PeerCredentials: Hashable, Sendable {
    /// The process id, in our namespace.
    public let pid: Int32
    /// The effective user id.
    public let uid: UInt32
    /// The effective group id.
    public let gid: UInt32
}

/// What one receive call brought.
public struct ReceivedMessage: ~Copyable {
    /// The bytes; empty when the other side has shut down.
    public let bytes: [UInt8]
    /// The descriptors that came with them, in order.
    public let descriptors: [SharedDescriptor]
    /// Whether bytes or descriptors were cut off, so that the message cannot be trusted.
    public let isTruncated: Bool
}

/// A connected Unix socket that carries bytes and descriptors.
public struct UnixSocket: ~Copyable, Sendable {
    /// The most descriptors one message can carry (SCM_MAX_FD, include/net/scm.h).
    public static let maximumDescriptors = Int(CLINUX_MAX_DESCRIPTORS)

    /// Whether messages have boundaries.
    public enum Kind: Sendable {
        /// SOCK_STREAM.
        case stream
        /// SOCK_SEQPACKET: one send is one receive.
        case packets
    }

    /// The socket's descriptor.
    public let descriptor: OwnedDescriptor

    /// Takes over a connected socket.
    public init(adopting descriptor: consuming OwnedDescriptor) {
        self.descriptor = descriptor
    }

    /// Connects to the stream socket at `path`. Throws ENAMETOOLONG for a path of more than 107 bytes.
    public init(connectingTo path: String) throws(KernelError) {
        let socket = try UnixSocket.make(.stream)
        let raw = socket.rawValue
        var address = try UnixSocket.address(of: path)
        _ = try checked("connect", on: path) {
            // SAFETY: sockaddr_un is a sockaddr; the kernel reads the given size, alive for the call.
            unsafe withUnsafePointer(to: &address) { pointer in
                unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    unsafe connect(raw, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
                }
            }
        }
        descriptor = socket
    }

    /// Two connected sockets.
    public struct Pair: ~Copyable {
        /// One end.
        public let first: OwnedDescriptor
        /// The other end.
        public let second: OwnedDescriptor

        /// Gives both ends to `body`, which takes them over.
        public consuming func take<Result: ~Copyable>(
            _ body: (consuming OwnedDescriptor, consuming OwnedDescriptor) -> Result
        ) -> Result {
            body(first, second)
        }
    }

    /// Two connected sockets (socketpair(2)), close-on-exec and blocking.
    public static func pair(_ kind: Kind) throws(KernelError) -> Pair {
        var ends: [CInt] = [-1, -1]
        let type = UnixSocket.type(kind)
        // SAFETY: the kernel writes two descriptors into the array of two.
        _ = try checked("socketpair") { unsafe socketpair(AF_UNIX, type, 0, &ends) }
        return Pair(first: OwnedDescriptor(adopting: ends[0]), second: OwnedDescriptor(adopting: ends[1]))
    }

    /// Sends bytes with descriptors attached to the first of them. Returns how many bytes the kernel took: on a stream
    /// that may be fewer than given, but the descriptors went if any byte did. Throws EAGAIN where the socket is
    /// non-blocking and full, EINVAL for more than ``maximumDescriptors``.
    public func send(_ bytes: [UInt8], descriptors: [CInt] = []) throws(KernelError) -> Int {
        let raw = descriptor.rawValue
        return try checked("sendmsg") {
            // SAFETY: both arrays are alive for the call and sent with their own counts.
            unsafe bytes.withUnsafeBytes { data in
                unsafe clinux_send(raw, data.baseAddress, data.count, descriptors, CInt(descriptors.count), 0)
            }
        }
    }

    /// Receives at most `limit` bytes. Throws EAGAIN where the socket is non-blocking and empty.
    public func receive(limit: Int = 65536) throws(KernelError) -> ReceivedMessage {
        let (bytes, descriptors, flags) = try receiveRaw(limit: limit)
        let received = descriptors.map { SharedDescriptor(OwnedDescriptor(adopting: $0)) }
        return ReceivedMessage(bytes: bytes, descriptors: received, isTruncated: flags & CLINUX_MSG_CUT != 0)
    }

    /// Receives at most `limit` bytes, and the descriptors that came with them; nil for none. `isTruncated`: some were
    /// cut off. Throws EAGAIN where the socket is non-blocking and empty.
    public func receive(
        limit: Int, closer: DescriptorCloser
    ) throws(KernelError) -> (bytes: [UInt8], descriptors: ReceivedDescriptors?, isTruncated: Bool) {
        let (bytes, descriptors, flags) = try receiveRaw(limit: limit)
        let received = descriptors.isEmpty ? nil : ReceivedDescriptors(adopting: descriptors, closer: closer)
        return (bytes, received, flags & CLINUX_MSG_CUT != 0)
    }

    private func receiveRaw(
        limit: Int
    ) throws(KernelError) -> (bytes: [UInt8], descriptors: [CInt], flags: CInt) {
        let raw = descriptor.rawValue
        var bytes = [UInt8](repeating: 0, count: limit)
        var descriptors = [CInt](repeating: -1, count: UnixSocket.maximumDescriptors)
        var descriptorCount: CInt = 0
        var flags: CInt = 0
        let count = try checked("recvmsg") {
            // SAFETY: the kernel writes at most `limit` bytes, the shim at most maximumDescriptors descriptors.
            unsafe bytes.withUnsafeMutableBytes { data in
                guard let base = data.baseAddress else { return -1 }
                return unsafe clinux_receive(raw, base, data.count, &descriptors, &descriptorCount, &flags, 0)
            }
        }
        bytes.removeLast(limit - count)
        return (bytes, Array(descriptors.prefix(Int(descriptorCount))), flags)
    }

    /// The credentials of the process that connected.
    public func peerCredentials() throws(KernelError) -> PeerCredentials {
        let raw = descriptor.rawValue
        var credentials = clinux_ucred()
        var size = socklen_t(MemoryLayout<clinux_ucred>.size)
        // SAFETY: the kernel writes at most `size` bytes into the structure of that size.
        _ = try checked("getsockopt(SO_PEERCRED)") {
            unsafe getsockopt(raw, SOL_SOCKET, SO_PEERCRED, &credentials, &size)
        }
        return PeerCredentials(pid: credentials.pid, uid: credentials.uid, gid: credentials.gid)
    }

    /// A descriptor that becomes readable when the process that connected has ended (SO_PEERPIDFD); nil before Linux
    /// 6.5. Throws ESRCH, or EINVAL on older kernels, if it has ended already.
    public func peerProcess() throws(KernelError) -> OwnedDescriptor? {
        let raw = descriptor.rawValue
        do throws(KernelError) {
            return OwnedDescriptor(adopting: try checked("getsockopt(SO_PEERPIDFD)") { clinux_peer_pidfd(raw) })
        } catch {
            if error.errno == .protocolNotAvailable { return nil }
            throw error
        }
    }

    /// Says that nothing more will be sent (shutdown(2), SHUT_WR).
    public func shutdownWriting() throws(KernelError) {
        let raw = descriptor.rawValue
        _ = try checked("shutdown") { shutdown(raw, CInt(SHUT_WR)) }
    }

    static func type(_ kind: Kind) -> CInt {
        let type = kind == .stream ? SOCK_STREAM : SOCK_SEQPACKET
        return CInt(type.rawValue) | CLINUX_SOCK_CLOEXEC
    }

    static func make(_ kind: Kind) throws(KernelError) -> OwnedDescriptor {
        let type = UnixSocket.type(kind)
        return OwnedDescriptor(adopting: try checked("socket(AF_UNIX)") { socket(AF_UNIX, type, 0) })
    }

    static func address(of path: String) throws(KernelError) -> sockaddr_un {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let bytes = Array(path.utf8)
        // One byte stays for the terminating NUL; a leading @ names an abstract address (unix(7)).
        guard bytes.count < MemoryLayout.size(ofValue: address.sun_path), !bytes.isEmpty else {
            throw KernelError("socket address", on: path, .fileNameTooLong)
        }
        // SAFETY: the count was checked against the field's size above.
        unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: bytes) }
        return address
    }
}

/// A listening Unix stream socket.
public struct UnixListener: ~Copyable, Sendable {
    /// The socket's descriptor.
    public let descriptor: OwnedDescriptor

    /// Takes over a listening socket, as systemd hands it over.
    public init(adopting descriptor: consuming OwnedDescriptor) throws(KernelError) {
        try descriptor.setNonBlocking(true)
        self.descriptor = descriptor
    }

    /// Binds and listens at `path`, non-blocking, replacing a dead socket of that name. Only our own user and root can
    /// connect, or with `owner` that user and root; with a group in it, its members too. Throws EEXIST where something
    /// other than a socket has the name, ENAMETOOLONG for a path of more than 107 bytes.
    public init(
        path: String, backlog: Int32 = 64, owner: (user: UInt32, group: UInt32?)? = nil
    ) throws(KernelError) {
        let socket = try UnixSocket.make(.stream)
        let raw = socket.rawValue
        try socket.setNonBlocking(true)
        var address = try UnixSocket.address(of: path)
        switch fileType(path) {
        case nil: break
        case S_IFSOCK: try removeFile(path)
        default: throw KernelError("bind", on: path, .fileExists)
        }
        // The file gets the mode that the socket has when it is bound (unix_bind_bsd, net/unix/af_unix.c), so there is
        // no moment at which others could connect.
        _ = try checked("fchmod", on: path) { fchmod(raw, 0o600) }
        _ = try checked("bind", on: path) {
            // SAFETY: sockaddr_un is a sockaddr; the kernel reads the given size, alive for the call.
            unsafe withUnsafePointer(to: &address) { pointer in
                unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    unsafe bind(raw, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
                }
            }
        }
        if let owner {
            // The mode first: once the file is another's, changing it takes a further capability (chmod(2)).
            if owner.group != nil { _ = try checked("chmod", on: path) { unsafe chmod(path, 0o660) } }
            // No group given is -1, which leaves it.
            _ = try checked("lchown", on: path) { unsafe lchown(path, owner.user, owner.group ?? gid_t.max) }
        }
        _ = try checked("listen", on: path) { listen(raw, backlog) }
        descriptor = socket
    }

    /// The next connection, non-blocking; nil if none waits.
    public func accept() throws(KernelError) -> UnixSocket? {
        let raw = descriptor.rawValue
        do {
            let connection = try checked("accept4") { clinux_accept(raw) }
            return UnixSocket(adopting: OwnedDescriptor(adopting: connection))
        } catch {
            // ECONNABORTED: the client was gone before we came.
            if error.errno == .resourceTemporarilyUnavailable || error.errno == .connectionAbort { return nil }
            throw error
        }
    }
}
