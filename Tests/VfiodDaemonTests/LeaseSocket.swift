import Glibc
import LinuxSystem
import Logging
import PCI
import Passthrough
import TestSupport
import Testing

@testable import VfiodDaemon

/// A leased device's socket, over devices in memory.
final class LeaseSocket: Sendable {
    let directory: TemporaryDirectory
    let devices = InMemoryDevices()
    let address: PCIAddress
    let sockets: LeaseSockets
    let loop: EventLoop

    deinit { loop.stop() }

    init(_ mode: LeaseMode = .descriptors, mappings: Int = LeaseLimits().mappings, mapsBARs: Bool = false)
        async throws
    {
        directory = try TemporaryDirectory()
        address = try #require(PCIAddress("0000:00:10.0"))
        loop = try EventLoop(name: "test-loop")
        sockets = try LeaseSockets(
            directory: directory.file("leases"), devices: devices, mappings: mappings, on: loop,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        await devices.setMapsBARs(mapsBARs)
        await devices.setLeaseDirectory(directory.file("leases"))
        await devices.serveLeases(through: sockets)
        _ = try await devices.attach(
            address, to: LeaseOwner(user: getuid()), mode, consent: [], dryRun: false)
    }

    var path: String { directory.file("leases/\(address)") }
}
