internal import CLinux
public import InterruptSources
public import LinuxSystem
internal import SystemPackage

/// A virtual machine of the fake KVM: routing table, irqfds and IOAPIC, with a count of all that arrived.
///
/// What the fake VFIO signals is raised at once, as the kernel does. What a process writes into an eventfd itself is
/// raised when the machine is next asked for something that depends on it; writes in between count as one.
public final class FakeKVMMachine: FakeFile {
    /// Something that arrived at the interrupt controllers.
    public struct Arrival: Hashable, Sendable {
        /// The number of the irqfd, or the IOAPIC's pin.
        public let number: Int
        /// The message of its route; nil for a pin.
        public let message: InterruptMessage?

        /// Creates one, to compare with.
        public init(_ number: Int, _ message: InterruptMessage?) {
            self.number = number
            self.message = message
        }
    }

    struct IRQFD {
        let eventfd: FakeEventFD
        let gsi: UInt32
        let resample: FakeEventFD?
        /// A count that was there when it was attached: raised then, and left in place until the next event.
        var seen: UInt64 = 0
    }

    struct State {
        var hasControllers = false
        var usesWideIDs = false
        var routes: [UInt32: [FakeKVMRoute]] = [:]
        /// By the number of their eventfds.
        var irqfds: [Int: IRQFD] = [:]
        var vcpus: [UInt32: FakeKVMVCPU] = [:]
        var ioapic = FakeIOAPIC()
        var arrivals: [Arrival: Int] = [:]
        var lost: [Int: Int] = [:]
    }

    let state = Lock(State())

    // MARK: What stands, for tests

    /// The messages of the routing table, by number.
    public var messages: [Int: InterruptMessage] {
        state.withLock { state in
            state.routes.reduce(into: [:]) { messages, entry in
                for route in entry.value where route.isMessage { messages[Int(entry.key)] = route.message }
            }
        }
    }

    /// The eventfds that have an irqfd, by number, as procfs numbers them.
    public var attached: [Int: Set<Int>] {
        state.withLock { state in
            state.irqfds.reduce(into: [:]) { $0[Int($1.value.gsi), default: []].insert($1.key) }
        }
    }

    /// What has arrived since the last call of this.
    public func arrivals() -> [Arrival: Int] {
        takeEvents()
        return state.withLock { state in
            defer { state.arrivals = [:] }
            return state.arrivals
        }
    }

    /// How many events went to numbers without a route since the last call of this.
    public func lostEvents() -> [Int: Int] {
        takeEvents()
        return state.withLock { state in
            defer { state.lost = [:] }
            return state.lost
        }
    }

    /// The guest ends the interrupt of a pin, if it has taken one: the level goes down, and the resample eventfds of the
    /// pin are signalled (irqfd_resampler_ack).
    public func endOfInterrupt(_ pin: Int) {
        takeEvents()
        let number = UInt32(clamping: pin)
        let resamples: [FakeEventFD]? = state.withLock { state in
            guard state.ioapic.isInService(number) else { return nil }
            let resamples = state.irqfds.values.filter { $0.gsi == number }.compactMap(\.resample)
            if !resamples.isEmpty { state.ioapic.lower(number) }
            return resamples
        }
        guard let resamples else { return }
        for resample in resamples { resample.signal() }
        takeEvents()
        state.withLock { state in
            let sent = state.ioapic.end(number)
            state.deliver(sent)
        }
    }

    // MARK: Requests

    /// KVM_CREATE_IRQCHIP and KVM_CREATE_VCPU.
    public func ioctl(_ request: UInt, value: UInt, kernel: FakeKernel) throws(KernelError) -> CInt {
        switch request {
        case CLINUX_KVM_CREATE_IRQCHIP: try createControllers()
        case CLINUX_KVM_CREATE_VCPU: return try createVCPU(value, kernel)
        default: throw KernelError("ioctl", .inappropriateIOCTLForDevice)
        }
        return 0
    }

    /// Everything else.
    public func ioctl(_ request: UInt, bytes: inout [UInt8], kernel: FakeKernel) throws(KernelError) -> CInt {
        switch request {
        case CLINUX_KVM_SET_GSI_ROUTING:
            // An event goes by the route that stands when it is raised.
            takeEvents()
            let given = bytes
            try state.withLock { (state) throws(KernelError) in try state.setRouting(given) }
        case CLINUX_KVM_IRQFD: try changeIRQFD(bytes)
        case CLINUX_KVM_SIGNAL_MSI: return try signalMessage(bytes)
        case CLINUX_KVM_GET_IRQCHIP, CLINUX_KVM_SET_IRQCHIP:
            takeEvents()
            try transferIOAPIC(&bytes, isWrite: request == CLINUX_KVM_SET_IRQCHIP)
        case CLINUX_KVM_ENABLE_CAP:
            guard bytes.word(at: 0) == UInt32(KVM_CAP_X2APIC_API), (bytes.word(at: 8) ?? 0) & ~3 == 0 else {
                throw refused
            }
            let isWide = (bytes.word(at: 8) ?? 0) & 1 != 0
            state.withLock { $0.usesWideIDs = isWide }
        case CLINUX_KVM_SET_USER_MEMORY_REGION: break
        default: throw KernelError("ioctl", .inappropriateIOCTLForDevice)
        }
        return 0
    }

    /// Ends all irqfds, as the machine's last close does (kvm_irqfd_release).
    public func released(kernel: FakeKernel) {
        let irqfds = state.withLock { state in
            defer { state.irqfds = [:] }
            return Array(state.irqfds.values)
        }
        for irqfd in irqfds { irqfd.eventfd.stopWaiting(self) }
    }

    private var refused: KernelError { KernelError("ioctl", .invalidArgument) }

    private func createControllers() throws(KernelError) {
        try state.withLock { state throws(KernelError) in
            if state.hasControllers { throw KernelError("ioctl", .fileExists) }
            if !state.vcpus.isEmpty { throw refused }
            state.hasControllers = true
            for pin in 0..<FakeIOAPIC.pins { state.routes[pin] = [FakeKVMRoute(pin: pin)] }
        }
    }

    private func createVCPU(_ value: UInt, _ kernel: FakeKernel) throws(KernelError) -> CInt {
        guard let id = UInt32(exactly: value) else { throw refused }
        let vcpu = try FakeKVMVCPU(id: Int(id)) { [weak self] in self?.takeEvents() }
        try state.withLock { state throws(KernelError) in
            if state.vcpus[id] != nil { throw KernelError("ioctl", .fileExists) }
            state.vcpus[id] = vcpu
        }
        return try kernel.descriptor(for: vcpu).release()
    }

    private func signalMessage(_ bytes: [UInt8]) throws(KernelError) -> CInt {
        let flags = bytes.word(at: 12) ?? 0
        takeEvents()
        return try state.withLock { state throws(KernelError) in
            guard state.hasControllers, flags & ~UInt32(KVM_MSI_VALID_DEVID) == 0 else { throw refused }
            return state.send(bytes.word(at: 0) ?? 0, bytes.word(at: 8) ?? 0) ? 1 : 0
        }
    }

    private func transferIOAPIC(_ bytes: inout [UInt8], isWrite: Bool) throws(KernelError) {
        let chip = bytes.word(at: 0)
        let given = bytes
        bytes = try state.withLock { state throws(KernelError) in
            guard state.hasControllers else { throw KernelError("ioctl", Errno(rawValue: ENXIO)) }
            guard chip == UInt32(KVM_IRQCHIP_IOAPIC) else { throw refused }
            if isWrite { for sent in state.ioapic.load(given) { state.deliver(sent) } }
            return state.ioapic.bytes
        }
    }
}
