internal import CLinux
internal import LinuxSystem
internal import SystemPackage

/// A virtual machine of the fake KVM: routing table, irqfds and IOAPIC.
///
/// Events of eventfds are taken when the machine is next called, not when they are raised; what is raised in between
/// comes together, as it does in a local APIC's request bits.
final class FakeKVMMachine: FakeFile {
    private struct Route {
        let gsi: UInt32
        let type: UInt32
        /// chip and pin, or address low, high and data.
        let words: [UInt32]
    }

    private struct IRQFD {
        let eventfd: EventFD
        let id: String
        let gsi: UInt32
        let isLevel: Bool
        /// A count that was there when it was attached: raised then, and left in place until the next event.
        var seen: UInt64
    }

    private struct State {
        var hasControllers = false
        var usesWideIDs = false
        var routes: [Route] = []
        var irqfds: [IRQFD] = []
        var vcpus: [UInt32: FakeKVMVCPU] = [:]
        var ioapic = [UInt8](repeating: 0, count: 520)
        var asserted: Set<UInt32> = []
    }

    private static let maximumRoutes = 4096
    private static let redirectionTable = 32
    private let state = Lock(State())

    func ioctl(_ request: UInt, value: UInt, kernel: FakeKernel) throws(KernelError) -> CInt {
        switch request {
        case CLINUX_KVM_CREATE_IRQCHIP: try createControllers()
        case CLINUX_KVM_CREATE_VCPU: return try createVCPU(value, kernel)
        default: throw KernelError("ioctl", .inappropriateIOCTLForDevice)
        }
        return 0
    }

    func ioctl(_ request: UInt, bytes: inout [UInt8], kernel: FakeKernel) throws(KernelError) -> CInt {
        takeEvents()
        switch request {
        case CLINUX_KVM_SET_GSI_ROUTING: try setRouting(bytes)
        case CLINUX_KVM_IRQFD: try changeIRQFD(bytes)
        case CLINUX_KVM_SIGNAL_MSI: return try signalMessage(bytes)
        case CLINUX_KVM_GET_IRQCHIP, CLINUX_KVM_SET_IRQCHIP:
            try transferIOAPIC(&bytes, isWrite: request == CLINUX_KVM_SET_IRQCHIP)
        case CLINUX_KVM_ENABLE_CAP:
            guard bytes.word(at: 0) == UInt32(KVM_CAP_X2APIC_API), (bytes.word(at: 8) ?? 0) & ~3 == 0 else {
                throw refused
            }
            state.withLock { $0.usesWideIDs = (bytes.word(at: 8) ?? 0) & 1 != 0 }
        case CLINUX_KVM_SET_USER_MEMORY_REGION: break
        default: throw KernelError("ioctl", .inappropriateIOCTLForDevice)
        }
        return 0
    }

    private var refused: KernelError { KernelError("ioctl", .invalidArgument) }

    private func createControllers() throws(KernelError) {
        try state.withLock { state throws(KernelError) in
            if state.hasControllers { throw KernelError("ioctl", .fileExists) }
            if !state.vcpus.isEmpty { throw refused }
            state.hasControllers = true
            // Every pin is masked after reset.
            for pin in 0..<24 { state.ioapic.setWord(1 << 16, at: FakeKVMMachine.redirectionTable + pin * 8) }
            state.ioapic.setWord(UInt32(KVM_IRQCHIP_IOAPIC), at: 0)
            state.routes = (0..<24).map { pin in
                Route(gsi: pin, type: UInt32(KVM_IRQ_ROUTING_IRQCHIP), words: [UInt32(KVM_IRQCHIP_IOAPIC), pin, 0])
            }
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

    private func setRouting(_ bytes: [UInt8]) throws(KernelError) {
        let count = Int(bytes.word(at: 0) ?? 0)
        try state.withLock { state throws(KernelError) in
            guard state.hasControllers, count <= FakeKVMMachine.maximumRoutes, bytes.word(at: 4) == 0 else {
                throw refused
            }
            var routes: [Route] = []
            var types: [UInt32: [UInt32]] = [:]
            for number in 0..<count {
                let words = (0..<12).map { bytes.word(at: 8 + number * 48 + $0 * 4) ?? 0 }
                let route = Route(gsi: words[0], type: words[1], words: Array(words[4..<7]))
                try FakeKVMMachine.check(route, flags: words[2], usesWideIDs: state.usesWideIDs)
                // A message stands alone on its number; of the pins, one of each chip.
                let mark = route.type == UInt32(KVM_IRQ_ROUTING_MSI) ? UInt32.max : words[4]
                let marks = types[route.gsi, default: []]
                if marks.contains(mark) || (!marks.isEmpty && (mark == .max || marks.contains(.max))) { throw refused }
                types[route.gsi] = marks + [mark]
                routes.append(route)
            }
            state.routes = routes
        }
    }

    private static func check(_ route: Route, flags: UInt32, usesWideIDs: Bool) throws(KernelError) {
        let isMessage = route.type == UInt32(KVM_IRQ_ROUTING_MSI)
        let allowed = isMessage ? UInt32(KVM_MSI_VALID_DEVID) : 0
        var isValid = route.gsi < UInt32(maximumRoutes) && flags & ~allowed == 0
        if isMessage {
            isValid = isValid && !(usesWideIDs && route.words[1] & 0xff != 0)
        } else {
            let pins: UInt32 = route.words[0] == UInt32(KVM_IRQCHIP_IOAPIC) ? 24 : 8
            isValid =
                isValid && route.type == UInt32(KVM_IRQ_ROUTING_IRQCHIP) && route.words[0] <= 2
                && route.words[1] < pins
        }
        if !isValid { throw KernelError("ioctl", .invalidArgument) }
    }

    private func changeIRQFD(_ bytes: [UInt8]) throws(KernelError) {
        let flags = bytes.word(at: 8) ?? 0
        let gsi = bytes.word(at: 4) ?? 0
        guard flags & ~UInt32(KVM_IRQFD_FLAG_DEASSIGN | KVM_IRQFD_FLAG_RESAMPLE) == 0 else { throw refused }
        try state.withLock { state throws(KernelError) in
            let isDeassign = flags & UInt32(KVM_IRQFD_FLAG_DEASSIGN) != 0
            guard state.hasControllers || isDeassign else { throw refused }
            let eventfd = try EventFD.behind(CInt(bitPattern: bytes.word(at: 0) ?? 0))
            guard let identity = EventFDIdentity(of: eventfd.rawValue) else { throw refused }
            if isDeassign {
                let before = state.irqfds.count
                state.irqfds.removeAll { $0.id == identity.id && $0.gsi == gsi }
                // Taking the waiter away takes the count with it (eventfd_ctx_remove_wait_queue).
                if state.irqfds.count != before { eventfd.drain() }
                return
            }
            let isLevel = flags & UInt32(KVM_IRQFD_FLAG_RESAMPLE) != 0
            if isLevel { _ = try EventFD.behind(CInt(bitPattern: bytes.word(at: 12) ?? 0)) }
            if state.irqfds.contains(where: { $0.id == identity.id }) { throw KernelError("ioctl", .resourceBusy) }
            state.irqfds.append(
                IRQFD(eventfd: eventfd, id: identity.id, gsi: gsi, isLevel: isLevel, seen: identity.count))
            if identity.count > 0 { FakeKVMMachine.raise(gsi, isLevel: isLevel, &state) }
        }
    }

    private func signalMessage(_ bytes: [UInt8]) throws(KernelError) -> CInt {
        let flags = bytes.word(at: 12) ?? 0
        return try state.withLock { state throws(KernelError) in
            guard state.hasControllers, flags & ~UInt32(KVM_MSI_VALID_DEVID) == 0 else { throw refused }
            return FakeKVMMachine.deliver(bytes.word(at: 0) ?? 0, bytes.word(at: 8) ?? 0, state) ? 1 : 0
        }
    }

    private func transferIOAPIC(_ bytes: inout [UInt8], isWrite: Bool) throws(KernelError) {
        let chip = bytes.word(at: 0)
        let given = bytes
        let result: [UInt8] = try state.withLock { state throws(KernelError) in
            guard state.hasControllers else { throw KernelError("ioctl", Errno(rawValue: ENXIO)) }
            guard chip == UInt32(KVM_IRQCHIP_IOAPIC) else { throw refused }
            if isWrite { state.ioapic = given }
            return state.ioapic
        }
        bytes = result
    }

    /// Raises what the eventfds have been signalled with since.
    private func takeEvents() {
        state.withLock { state in
            for index in state.irqfds.indices {
                let irqfd = state.irqfds[index]
                let count = EventFDIdentity(of: irqfd.eventfd.rawValue)?.count ?? 0
                if count == irqfd.seen { continue }
                irqfd.eventfd.drain()
                state.irqfds[index].seen = 0
                if count > 0 { FakeKVMMachine.raise(irqfd.gsi, isLevel: irqfd.isLevel, &state) }
            }
        }
    }

    private static func raise(_ gsi: UInt32, isLevel: Bool, _ state: inout State) {
        for route in state.routes where route.gsi == gsi {
            if route.type == UInt32(KVM_IRQ_ROUTING_MSI) {
                _ = deliver(route.words[0], route.words[2], state)
            } else if route.words[0] == UInt32(KVM_IRQCHIP_IOAPIC) {
                let entry = redirectionTable + Int(route.words[1]) * 8
                let (low, high) = (state.ioapic.word(at: entry) ?? 0, state.ioapic.word(at: entry + 4) ?? 0)
                let isMasked = low & 1 << 16 != 0
                // No guest ends it here, so an asserted level is delivered once.
                if isMasked || (isLevel && !state.asserted.insert(gsi).inserted) { continue }
                _ = deliver((high >> 24) << 12, low & 0xff, state)
            }
        }
    }

    private static func deliver(_ address: UInt32, _ data: UInt32, _ state: State) -> Bool {
        state.vcpus[address >> 12 & 0xff]?.request(UInt8(truncatingIfNeeded: data)) ?? false
    }
}
