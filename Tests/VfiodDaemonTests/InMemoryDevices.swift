import InterruptSources
import LinuxSystem
import PCI
import Passthrough
import SystemPackage

/// A host with a few devices that exist in memory only.
actor InMemoryDevices: DeviceOperations {
    private var states: [PCIAddress: DeviceState] = [:]
    private(set) var requests: [SelfTestRequest] = []
    private(set) var applied: [NamedDevices] = []
    private(set) var consents: [Set<Consent>] = []
    private var followers: [AsyncStream<DeviceEvent>.Continuation] = []
    /// What the next changing call throws.
    var failure: PassthroughError?

    static let blocker = Blocker(
        code: .networkAddress, message: "eth0 has an address.", evidence: "eth0: 10.0.0.2",
        remedy: "Remove it: ip address flush dev eth0")

    init(_ addresses: [String] = ["0000:00:10.0", "0000:00:11.0"]) {
        for address in addresses.compactMap({ PCIAddress($0) }) { states[address] = .available }
    }

    func fail(_ error: PassthroughError) { failure = error }

    private func summary(_ address: PCIAddress) throws(PassthroughError) -> DeviceSummary {
        guard let state = states[address] else { throw .deviceNotFound(address.description) }
        return DeviceSummary(
            address: address, name: "edu", configuredName: "0000:00:10.0" == "\(address)" ? "nic0" : nil,
            className: "Unclassified", vendorID: 0x1234, deviceID: 0x11e8,
            classCode: 0xff00, driver: state == .bound ? "vfio-pci" : nil, iommuGroup: 3,
            interrupts: InterruptCounts(legacy: 1, msi: 1, msix: 0), state: state)
    }

    func list() async throws(PassthroughError) -> [DeviceSummary] {
        var found: [DeviceSummary] = []
        for address in states.keys.sorted() { found.append(try summary(address)) }
        return found
    }

    func target(of selector: DeviceSelector) async throws(PassthroughError) -> DeviceTarget {
        switch selector {
        case .address(let address): return .device(address)
        case .name("nics"): return .pool("nics", members: ["nic0", "id=8086:10d3"])
        case .name("nic0"), .identity:
            guard let first = states.keys.min() else { throw .deviceNotFound(selector.description) }
            return .device(first)
        case .name(let name): throw .deviceNotFound(name)
        }
    }

    func bind(
        firstFreeOf pool: String, consent: Set<Consent>, dryRun: Bool, progress: @escaping ProgressReport
    ) async throws(PassthroughError) -> PoolChoice {
        guard let free = states.keys.sorted().first(where: { states[$0] == .available }) else {
            throw .poolExhausted(pool, states.keys.sorted().map { PassedOver("\($0)", reason: "It is bound.") })
        }
        return PoolChoice(
            device: free, plan: try await bind(free, consent: consent, dryRun: dryRun, progress: progress))
    }

    func follow() async throws(PassthroughError) -> DeviceFeed {
        let (events, queue) = AsyncStream.makeStream(of: DeviceEvent.self)
        followers.append(queue)
        return DeviceFeed(devices: try await list().map { DeviceStatus(summary: $0) }, events: events)
    }

    /// Tells those who follow of an event, and ends their queues if it is nil.
    func tell(_ event: DeviceEvent?) {
        for queue in followers {
            if let event { queue.yield(event) } else { queue.finish() }
        }
    }

    func describe(_ address: PCIAddress) async throws(PassthroughError) -> DeviceDetails {
        DeviceDetails(
            summary: try summary(address), subsystemVendorID: 0x1af4, subsystemDeviceID: 0x1100, revision: 0x10,
            route: [address],
            regions: [
                PCIRegion(
                    index: 0, space: .memory, address: 0xfea0_0000, size: 4096, is64Bit: false, isPrefetchable: false)
            ],
            totalVirtualFunctions: 7, virtualFunctions: [address],
            reservedRegions: [IOMMUReservedRegion(first: 0xfee0_0000, last: 0xfeef_ffff, kind: "msi")],
            live: LiveState(powerControl: "on", unread: [.driverOverride]),
            holders: [Holder(processID: 7, command: "qemu", unit: "vm.service", descriptors: [9])],
            hostUses: [InMemoryDevices.blocker])
    }

    func plan(_ operation: PlannedOperation, _ address: PCIAddress) async throws(PassthroughError) -> Plan {
        switch operation {
        case .bind: try await bind(address, consent: [], dryRun: true) { _ in }
        case .restore: try await restore(address, dryRun: true) { _ in }
        case .reset: try await reset(address, method: nil, consent: [], dryRun: true) { _ in }
        case .attach:
            try await attach(address, to: LeaseOwner(user: 0), .descriptors, consent: [], dryRun: true).plan
        }
    }

    func bind(
        _ address: PCIAddress, consent: Set<Consent>, dryRun: Bool, progress: @escaping ProgressReport
    ) async throws(PassthroughError) -> Plan {
        _ = try summary(address)
        if let failure { throw failure }
        consents.append(consent)
        let step = Plan.Step(action: "write", target: "driver_override", value: "vfio-pci")
        if !dryRun {
            for index in 1...3 { progress("step \(index)") }
            states[address] = .bound
        }
        return Plan(steps: [step], blockers: dryRun ? [InMemoryDevices.blocker] : [])
    }

    func restore(
        _ address: PCIAddress, dryRun: Bool, progress: @escaping ProgressReport
    ) async throws(PassthroughError) -> Plan {
        _ = try summary(address)
        if let failure { throw failure }
        if !dryRun { states[address] = .available }
        return Plan(steps: [], blockers: [])
    }

    func setVirtualFunctions(
        _ address: PCIAddress, to count: Int, consent: Set<Consent>, dryRun: Bool, progress: @escaping ProgressReport
    ) async throws(PassthroughError) -> Plan {
        _ = try summary(address)
        if let failure { throw failure }
        consents.append(consent)
        return Plan(steps: [Plan.Step(action: "write", target: "sriov_numvfs", value: "\(count)")], blockers: [])
    }

    func apply(
        _ names: NamedDevices, dryRun: Bool, progress: @escaping ProgressReport
    ) async -> [AppliedProvision] {
        applied.append(names)
        if !dryRun { progress("binding") }
        return names.devices.filter(\.provision.isBound).map { device in
            let step = Plan.Step(action: "write", target: "driver_override", value: "vfio-pci")
            let outcome: AppliedProvision.Outcome =
                if let failure { .failed(failure) } else {
                    dryRun ? .planned(Plan(steps: [step], blockers: [])) : .done
                }
            return AppliedProvision(
                name: device.name, address: device.identity.address, action: .bind, outcome: outcome)
        }
    }

    func adoptClaimed() async {}

    func reset(
        _ address: PCIAddress, method: String?, consent: Set<Consent>, dryRun: Bool, progress: @escaping ProgressReport
    ) async throws(PassthroughError) -> Plan {
        _ = try summary(address)
        if let failure { throw failure }
        consents.append(consent)
        if !dryRun { progress("resetting by \(method ?? "flr")") }
        return Plan(steps: [Plan.Step(action: "write", target: "reset", value: "1")], blockers: [])
    }

    func release(_ address: PCIAddress) async throws(PassthroughError) {
        _ = try summary(address)
        if let failure { throw failure }
        states[address] = .bound
    }

    func selfTest(
        _ address: PCIAddress, _ request: SelfTestRequest, progress: @escaping ProgressReport
    ) async throws(PassthroughError) -> [SelfTestReport] {
        _ = try summary(address)
        if let failure { throw failure }
        requests.append(request)
        progress("testing")
        return request.types.map { type in
            var report = SelfTestReport(type: type, raiser: .loopback, vectors: 1, tested: 1)
            report.fired = request.count
            report.delivered = request.fault == nil ? request.count : 0
            report.lost = request.fault == nil ? 0 : request.count
            report.lostVectors = request.fault == nil ? [] : [0]
            return report
        }
    }

    func interrupts(_ address: PCIAddress) async throws(PassthroughError) -> [InterruptGroupState] {
        _ = try summary(address)
        let vector = InterruptVectorState(
            index: 0, wired: true, masked: false, pending: false, hostInterrupt: 40, hostCount: 7)
        return [InterruptGroupState(type: .msi, count: 1, state: "live", vectors: [vector])]
    }

    // MARK: Leases

    private(set) var owners: [PCIAddress: LeaseOwner] = [:]
    private(set) var ends: [SessionEndReason] = []
    private(set) var sessions: [PCIAddress: InMemorySession] = [:]
    private var over: [PCIAddress: @Sendable () -> Void] = [:]
    private var endpoints: (any LeaseEndpoints)?
    /// Where the sockets are.
    var leaseDirectory = ""

    func setLeaseDirectory(_ path: String) { leaseDirectory = path }

    private var mapsBARs = false

    func setMapsBARs(_ mapsBARs: Bool) { self.mapsBARs = mapsBARs }

    func attach(
        _ address: PCIAddress, to owner: LeaseOwner, _ mode: LeaseMode, consent: Set<Consent>, dryRun: Bool
    ) async throws(PassthroughError) -> (lease: Lease?, plan: Plan) {
        _ = try summary(address)
        if let failure { throw failure }
        let plan = Plan(steps: [Plan.Step(action: "record", target: "lease", value: "\(owner)")], blockers: [])
        if dryRun { return (nil, plan) }
        let path = "\(leaseDirectory)/\(address)"
        do throws(KernelError) {
            try await endpoints?.open(address, at: path, for: owner, mode, mapsBARs: mapsBARs)
        } catch {
            throw .kernel(address, step: "listen", error, hint: "")
        }
        owners[address] = owner
        return (await leases().first, plan)
    }

    func detach(
        _ address: PCIAddress, dryRun: Bool, progress: @escaping ProgressReport
    ) async throws(PassthroughError) -> Plan {
        _ = try summary(address)
        progress("detaching")
        if !dryRun {
            await endSession(address, .detached)
            await endpoints?.close(address)
            owners[address] = nil
        }
        return Plan(steps: [], blockers: [])
    }

    func leases() async -> [Lease] {
        owners.keys.sorted().compactMap { address in
            owners[address].map { owner in
                Lease(
                    iommuGroup: 3, owner: owner, mode: .descriptors,
                    devices: [
                        LeasedDevice(
                            address: address, socketPath: "\(leaseDirectory)/\(address)",
                            state: sessions[address] == nil ? .idle : .inUse)
                    ])
            }
        }
    }

    func serveLeases(through endpoints: any LeaseEndpoints) async { self.endpoints = endpoints }

    func beginSession(
        _ address: PCIAddress, for peer: SessionPeer, ended: @escaping @Sendable () -> Void
    ) async throws(LeaseError) -> any DeviceSession {
        if failure != nil { throw .notReady(address, state: "held", message: "It is open elsewhere.") }
        let session = InMemorySession(address)
        sessions[address] = session
        over[address] = ended
        return session
    }

    func endSession(_ address: PCIAddress, _ reason: SessionEndReason) async {
        guard sessions.removeValue(forKey: address) != nil else { return }
        ends.append(reason)
        over.removeValue(forKey: address)?()
    }

    func endSessions() async {
        for address in sessions.keys { await endSession(address, .stopping) }
    }
}
