import InterruptSources
import LinuxSystem
import PCI
import Passthrough
import SystemPackage
import TestSupport

/// A session of a device that exists in memory only, with five MSI-X vectors, 32 of MSI and a line.
final class InMemorySession: DeviceSession {
    let address: PCIAddress
    /// What is mapped.
    let mapped = Lock<[DMARange: UInt64]>([:])
    /// Mappings, by their first addresses, that cannot be taken back.
    let kept = Lock<Set<UInt64>>([])
    /// What is asked of the sources, of which one at a time is on.
    let calls = ScriptedCalls()
    let messages: FakeInterruptSource
    let block: FakeInterruptSource
    let line: FakeInterruptSource
    let resets = Lock(0)
    /// The regions' bytes.
    let regions = Lock<[Int: [UInt8]]>([0: [UInt8](repeating: 0, count: 4096)])
    /// What each call throws from now on.
    let failure = Lock<LeaseError?>(nil)
    /// How many reads of regions there were.
    let reads = Lock(0)
    /// How many MSI vectors the guest allows.
    let allowed = Lock(1)
    private let device: Result<DeviceInterrupts, InterruptError>

    init(_ address: PCIAddress) {
        self.address = address
        let working = FakeWorkingType()
        messages = FakeInterruptSource(.msix, count: 5, calls: calls, device: working)
        block = FakeInterruptSource(.msi, count: 32, calls: calls, device: working)
        line = FakeInterruptSource(.legacy, count: 1, calls: calls, device: working)
        let sources: [any InterruptSource] = [messages, block, line]
        device = Result { () throws(InterruptError) in try DeviceInterrupts(sources, sink: nil) }
    }

    func describe() async throws(LeaseError) -> SessionDevice {
        let region = SessionDevice.Region(
            index: 0, offset: 1 << 40, size: 4096, isReadable: true, isWritable: true, isMappable: true,
            mappableAreas: [MappableArea(offset: 0, size: 4096)])
        return SessionDevice(
            address: address, canReset: true, regions: [region],
            interrupts: InterruptCounts(legacy: 1, msi: 32, msix: 5))
    }

    func openDevice() async throws(LeaseError) -> SharedDescriptor {
        do throws(KernelError) {
            return SharedDescriptor(try openFile("/dev/null", .readWrite))
        } catch {
            throw .kernel(step: "open", error)
        }
    }

    func map(
        _ range: DMARange, _ memory: MemoryFile, at offset: UInt64, writable: Bool, patience: Duration?
    ) async throws(LeaseError) {
        mapped.withLock { $0[range] = offset }
    }

    func unmap(_ range: DMARange) async throws(LeaseError) {
        if kept.withLock({ $0.contains(range.first) }) {
            throw .kernel(step: "unmap memory", KernelError("VFIO_IOMMU_UNMAP_DMA", .ioError))
        }
        guard mapped.withLock({ $0.removeValue(forKey: range) }) != nil else { throw .badRange(.notMapped) }
    }

    func read(region: Int, at offset: UInt64, count: Int) async throws(LeaseError) -> [UInt8] {
        reads.withLock { $0 += 1 }
        if let failure = failure.withLock({ $0 }) { throw failure }
        return regions.withLock { Array(($0[region] ?? []).dropFirst(Int(offset)).prefix(count)) }
    }

    func write(region: Int, at offset: UInt64, _ bytes: [UInt8]) async throws(LeaseError) {
        if let failure = failure.withLock({ $0 }) { throw failure }
        regions.withLock { regions in
            for (index, byte) in bytes.enumerated() { regions[region]?[Int(offset) + index] = byte }
        }
    }

    func allowedMSIVectors() async throws(LeaseError) -> Int? { allowed.withLock { $0 } }

    func interrupts<Value: Sendable>(
        _ body: @escaping @Sendable (DeviceInterrupts) throws(InterruptError) -> Value
    ) async throws(LeaseError) -> Value {
        do throws(InterruptError) { return try body(try device.get()) } catch { throw .interrupts(error) }
    }

    func reset() async throws(LeaseError) { resets.withLock { $0 += 1 } }
}
