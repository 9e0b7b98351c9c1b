internal import InterruptSources
internal import LinuxSystem
internal import PCI
internal import SystemPackage
internal import VFIO
internal import VFIOInterrupts

/// A device that is open for its lease's owner.
final class LeaseSession: DeviceSession {
    /// What is open.
    struct Core: Sendable {
        let device: VFIODevice
        let groups: DeviceInterrupts
        let watch: DeviceWatch
    }

    static let openingStep = "open the device"
    // What has the capabilities of MSI and MSI-X in it (PCI 3.0 section 6.7).
    private static let capabilitySpace: UInt64 = 256

    let address: PCIAddress
    let memory: LeaseMemory
    /// For the device's requests, one at a time.
    let lane: BlockingLane
    /// What the configuration space said of the device before the session: it says so again after it.
    let signature: DeviceSignature
    let clock: any Clock<Duration>
    /// Told of what went wrong later.
    let failed: @Sendable (LateFailure) -> Void
    let gate = Lock(BusMasterGate())
    /// Ranges that its owner takes for mapped, and that are not.
    let lost = Lock<Set<DMARange>>([])
    private let core: Lock<Core?>
    /// Nil until configuration space is looked at first.
    private let shadow = Lock<ConfigurationShadow?>(nil)
    private let ending = Lock<SessionEndReason?>(nil)

    private init(
        _ address: PCIAddress, _ core: Core, _ memory: LeaseMemory, _ lane: BlockingLane, _ signature: DeviceSignature,
        _ clock: any Clock<Duration>, _ failed: @escaping @Sendable (LateFailure) -> Void
    ) {
        (self.address, self.memory, self.lane, self.signature) = (address, memory, lane, signature)
        (self.clock, self.failed) = (clock, failed)
        self.core = Lock(core)
    }

    /// Opens the device, on `lane`, whose thread calls this. What the device tells of is given to `told` on `loop`, and what
    /// went wrong after its owner was told otherwise to `failed`.
    static func open(
        _ address: PCIAddress, _ token: VFIOToken?, in memory: LeaseMemory, on lane: BlockingLane, sysfs: Sysfs,
        loop: EventLoop, clock: any Clock<Duration>, told: @escaping @Sendable (VFIODeviceEvent) -> Void,
        failed: @escaping @Sendable (LateFailure) -> Void
    ) throws(LeaseError) -> LeaseSession {
        let signature = DeviceSignature(sysfs.configSpace(of: address))
        let device: VFIODevice
        do throws(KernelError) {
            device = try memory.join(address).device(address, token: token)
        } catch {
            memory.leave(address)
            throw .kernel(step: openingStep, error)
        }
        do throws(InterruptError) {
            let interrupts = VFIOInterrupts(device)
            let core = Core(
                device: device, groups: try DeviceInterrupts(interrupts.sources(), sink: nil),
                watch: try DeviceWatch(interrupts, on: loop, handler: told))
            return LeaseSession(address, core, memory, lane, signature, clock, failed)
        } catch {
            memory.leave(address)
            throw .interrupts(error)
        }
    }

    /// From now on every call is refused.
    func close(_ reason: SessionEndReason) {
        ending.withLock { $0 = reason }
    }

    /// What is open, for the steps of its end.
    var opened: Core? { core.withLock { $0 } }

    /// Takes what is open away; it closes when the caller lets it go.
    func takeOpened() -> Core? {
        core.withLock { core in
            defer { core = nil }
            return core
        }
    }

    func describe() async throws(LeaseError) -> SessionDevice {
        let address = address
        return try await onLane("describe") { (core) throws(KernelError) in
            let configuration = try core.device.region(.configuration)
            let structures = ConfigSpace(
                try configuration.read(at: 0, count: Int(min(configuration.size, LeaseSession.capabilitySpace)))
            ).msixStructures
            var regions: [SessionDevice.Region] = []
            for index in VFIORegionIndex.allCases {
                let region = try core.device.region(index)
                if region.size == 0 { continue }
                regions.append(
                    SessionDevice.Region(
                        index: Int(index.rawValue), offset: region.offset, size: region.size,
                        isReadable: region.isReadable, isWritable: region.isWritable, isMappable: region.isMappable,
                        mappableAreas: region.isMappable
                            ? MappableArea.areas(ofBAR: Int(index.rawValue), size: region.size, around: structures)
                            : []))
            }
            let counts = try [VFIOIRQIndex.intx, .msi, .msix].map { (index) throws(KernelError) in
                Int(clamping: try core.device.irqInfo(index).count)
            }
            return SessionDevice(
                address: address, canReset: try core.device.info().canReset, regions: regions,
                interrupts: InterruptCounts(legacy: counts[0], msi: counts[1], msix: counts[2]))
        }
    }

    func openDevice() async throws(LeaseError) -> SharedDescriptor {
        try await onLane("hand out the device") { (core) throws(KernelError) in
            SharedDescriptor(try core.device.duplicateDescriptor())
        }
    }

    func read(region: Int, at offset: UInt64, count: Int) async throws(LeaseError) -> [UInt8] {
        let step = "read a region"
        var bytes: [UInt8] = []
        for piece in try pieces(of: region, step, at: offset, count: count) {
            bytes += try await onRegion(region, step) { [self] (region) throws(KernelError) in
                try LeaseSession.require(region, offset, count)
                var bytes = try region.read(at: piece.lowerBound, count: piece.count)
                if region.index == .configuration {
                    try currentShadow(region)?.fill(&bytes, at: piece.lowerBound)
                    gate.withLock { $0.fill(&bytes, at: piece.lowerBound) }
                }
                return bytes
            }
        }
        return bytes
    }

    func write(region: Int, at offset: UInt64, _ bytes: [UInt8]) async throws(LeaseError) {
        let step = "write a region"
        var rest = bytes[...]
        for piece in try pieces(of: region, step, at: offset, count: bytes.count) {
            let part = Array(rest.prefix(piece.count))
            rest = rest.dropFirst(piece.count)
            try await onRegion(region, step) { [self] (region) throws(KernelError) in
                try LeaseSession.require(region, offset, bytes.count)
                guard region.index == .configuration else { return try region.write(part, at: piece.lowerBound) }
                guard var current = try currentShadow(region) else {
                    throw KernelError("pwrite", on: "the configuration space of \(address) does not answer", .ioError)
                }
                for run in current.take(part, at: piece.lowerBound) {
                    let allowed = gate.withLock { $0.take(run.bytes, at: run.offset) }
                    try region.write(allowed, at: run.offset)
                }
                shadow.withLock { $0 = current }
            }
        }
    }

    func allowedMSIVectors() async throws(LeaseError) -> Int? {
        try await onRegion(Int(VFIORegionIndex.configuration.rawValue), "read a region") {
            [self] (region) throws(KernelError) in try currentShadow(region)?.msiVectors
        }
    }

    /// What the guest has written so far; nil while configuration space does not answer. On the lane.
    private func currentShadow(_ region: VFIORegion) throws(KernelError) -> ConfigurationShadow? {
        if let shadow = shadow.withLock({ $0 }) { return shadow }
        let made = ConfigurationShadow(
            ConfigSpace(try region.read(at: 0, count: Int(min(region.size, LeaseSession.capabilitySpace)))))
        shadow.withLock { $0 = made }
        return made
    }

    private func pieces(
        of region: Int, _ step: String, at offset: UInt64, count: Int
    ) throws(LeaseError) -> RegionPieces {
        guard let pieces = RegionPieces(of: count, at: offset) else {
            throw .kernel(step: step, KernelError(step, on: "\(count) bytes of region \(region)", .invalidArgument))
        }
        return pieces
    }

    /// Refuses an access that the region does not have all of, before any piece of it is made.
    private static func require(_ region: VFIORegion, _ offset: UInt64, _ count: Int) throws(KernelError) {
        guard offset < region.size, UInt64(clamping: count) <= region.size - offset else {
            throw KernelError("access", on: "\(region.index): outside \(region.size) bytes", .invalidArgument)
        }
    }

    private func onRegion<Value: Sendable>(
        _ index: Int, _ step: String, _ body: @escaping @Sendable (VFIORegion) throws(KernelError) -> Value
    ) async throws(LeaseError) -> Value {
        try await onLane(step) { (core) throws(KernelError) in
            guard let number = UInt32(exactly: index).flatMap(VFIORegionIndex.init) else {
                throw KernelError(step, on: "region \(index)", .invalidArgument)
            }
            return try body(try core.device.region(number))
        }
    }

    func interrupts<Value: Sendable>(
        _ body: @escaping @Sendable (DeviceInterrupts) throws(InterruptError) -> Value
    ) async throws(LeaseError) -> Value {
        try await lane.run { [self] () throws(LeaseError) in
            let groups = try whileOpen().groups
            do throws(InterruptError) { return try body(groups) } catch { throw .interrupts(error) }
        }
    }

    func reset() async throws(LeaseError) {
        try await onLane("reset") { [self] (core) throws(KernelError) in
            try core.device.reset()
            shadow.withLock { $0 = nil }
            gate.withLock { $0.reset() }
        }
    }

    func onLane<Value: Sendable>(
        _ step: String, _ body: @escaping @Sendable (Core) throws(KernelError) -> Value
    ) async throws(LeaseError) -> Value {
        try await lane.run { [self] () throws(LeaseError) in
            let core = try whileOpen()
            do throws(KernelError) { return try body(core) } catch { throw .kernel(step: step, error) }
        }
    }

    /// Throws ``LeaseError/ended(_:_:)`` once the session is being ended.
    func mustBeOpen() throws(LeaseError) { _ = try whileOpen() }

    private func whileOpen() throws(LeaseError) -> Core {
        if let reason = ending.withLock({ $0 }) { throw .ended(address, reason) }
        guard let core = opened else { throw .ended(address, .connectionClosed) }
        return core
    }
}
