import LinuxSystem
import Logging
import PCI
import Passthrough
import TestSupport

/// A host of files with so many functions, spread over at most 512 IOMMU groups, and vfiod's view of it.
struct GeneratedHost {
    static let iommuGroups = 512

    let fake: FakeHost
    let files: any FileReading
    let addresses: [PCIAddress]
    let host: PassthroughHost

    /// `files` are how vfiod reads it.
    init(functions count: Int, files: any FileReading, on loop: EventLoop) throws {
        fake = try FakeHost()
        fake.addDriver("e1000e", matching: [])
        addresses = (0..<count).compactMap { number in
            let (bus, place) = (number / 256, number % 256)
            return PCIAddress(
                domain: 0, bus: UInt8(clamping: bus), device: UInt8(place / 8), function: UInt8(place % 8))
        }
        for (number, address) in addresses.enumerated() {
            fake.addFunction(address, driver: "e1000e", iommuGroup: number % GeneratedHost.iommuGroups)
        }
        self.files = files
        host = try PassthroughHost(
            PassthroughHost.Configuration(
                root: HostRoot(path: fake.root, files: files), stateDirectory: fake.stateDirectory),
            on: loop, uevents: try fake.uevents.listen(), writer: fake,
            logger: Logger(label: "benchmark") { _ in Silent() })
    }

    /// How often sysfs is asked for a function that comes.
    func opensToComeBack(_ files: FakeFiles) async throws -> Int {
        guard let address = addresses.last else { return 0 }
        files.forgetOpens()
        fake.removeFunction(address)
        // Once, whether there is another one by now.
        while try await host.list().contains(where: { $0.address == address }) || files.opens.isEmpty {
            await Task.yield()
        }
        files.forgetOpens()
        // Without a driver: that it has one would be an event more, which is merged with the first or not.
        fake.addFunction(address, iommuGroup: 1)
        while try await !host.list().contains(where: { $0.address == address && $0.interrupts.legacy == 1 }) {
            await Task.yield()
        }
        return files.opens.count
    }

    /// Takes the last function away and gives it back, and waits until vfiod has seen both and knows its vectors.
    /// Returns how long it took to see that it is back, nanoseconds.
    func replug() async throws -> UInt64 {
        guard let address = addresses.last else { return 0 }
        fake.removeFunction(address)
        while (try? await host.interrupts(address)) != nil { await Task.yield() }
        fake.addFunction(address, driver: "e1000e", iommuGroup: 1)
        let start = monotonicNanoseconds()
        while (try? await host.interrupts(address))?.isEmpty ?? true { await Task.yield() }
        return monotonicNanoseconds() &- start
    }
}

/// Nothing is logged.
private struct Silent: LogHandler {
    var logLevel = Logger.Level.critical
    var metadata: Logger.Metadata = [:]
    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }
    func log(event: LogEvent) {}
}
