internal import LinuxSystem
internal import Logging
internal import PCI
internal import Passthrough
internal import SystemPackage
internal import Varlink

/// What serves the socket of one leased device.
protocol LeaseEndpoint: Sendable {
    /// Accepts connections from now on.
    func listen(_ listener: consuming UnixListener) async throws(KernelError)

    /// Ends the connection, and takes no other.
    func stop() async
}

/// The sockets on which the owners of leases begin their sessions, one for each leased device.
actor LeaseSockets: LeaseEndpoints {
    private let directory: String
    private let devices: any DeviceOperations
    private let mappings: Int
    private let loop: EventLoop
    private let logger: Logger
    private var servers: [PCIAddress: any LeaseEndpoint] = [:]

    /// Makes the directory, through which everybody may pass, to a socket of whose name he knows. `mappings`: how many
    /// ranges of memory a lease may have, for clients that ask.
    init(
        directory: String, devices: any DeviceOperations, mappings: Int = LeaseLimits().mappings, on loop: EventLoop,
        logger: Logger
    ) throws(KernelError) {
        try makeDirectory(directory, permissions: 0o711)
        // Whatever the umask has taken away.
        try setPermissions(directory, 0o711)
        (self.directory, self.devices, self.mappings) = (directory, devices, mappings)
        (self.loop, self.logger) = (loop, logger)
    }

    func open(
        _ address: PCIAddress, at path: String, for owner: LeaseOwner, _ mode: LeaseMode, mapsBARs: Bool
    ) async throws(KernelError) {
        await close(address)
        let listener = try UnixListener(path: path, owner: (owner.user, owner.group))
        let server = try endpoint(address, mode, mapsBARs: mapsBARs)
        try await server.listen(listener)
        servers[address] = server
    }

    private func endpoint(
        _ address: PCIAddress, _ mode: LeaseMode, mapsBARs: Bool
    ) throws(KernelError) -> any LeaseEndpoint {
        switch mode {
        case .vfioUser:
            return UserServer(
                address, devices: devices, mappings: mappings, mapsBARs: mapsBARs, on: loop, logger: logger)
        case .descriptors:
            do {
                return try LeaseServer(address, devices: devices, on: loop, logger: logger)
            } catch {
                throw KernelError("io.vfiod.lease", on: "\(error)", .invalidArgument)
            }
        }
    }

    func close(_ address: PCIAddress) async {
        try? removeFile("\(directory)/\(address)")
        await servers.removeValue(forKey: address)?.stop()
    }

    func closeAll() async {
        for address in servers.keys { await close(address) }
    }
}
