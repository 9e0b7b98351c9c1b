internal import CLinux
internal import InterruptSources
internal import LinuxSystem
internal import SystemPackage

// The irqfds of a fake virtual machine (virt/kvm/eventfd.c).
extension FakeKVMMachine {
    func changeIRQFD(_ bytes: [UInt8]) throws(KernelError) {
        let invalid = KernelError("ioctl", .invalidArgument)
        let (flags, gsi) = (bytes.word(at: 8) ?? 0, bytes.word(at: 4) ?? 0)
        guard flags & ~UInt32(KVM_IRQFD_FLAG_DEASSIGN | KVM_IRQFD_FLAG_RESAMPLE) == 0 else { throw invalid }
        let isDeassign = flags & UInt32(KVM_IRQFD_FLAG_DEASSIGN) != 0
        guard isDeassign || state.withLock({ $0.hasControllers }) else { throw invalid }
        let eventfd = try FakeEventFD(behind: CInt(bitPattern: bytes.word(at: 0) ?? 0))
        if isDeassign { return deassign(eventfd.id, gsi) }
        let isLevel = flags & UInt32(KVM_IRQFD_FLAG_RESAMPLE) != 0
        let resample = isLevel ? try FakeEventFD(behind: CInt(bitPattern: bytes.word(at: 12) ?? 0)) : nil
        try assign(IRQFD(eventfd: eventfd, gsi: gsi, resample: resample))
    }

    /// Raises what processes have written into eventfds since.
    func takeEvents() {
        state.withLock { state in
            for id in Array(state.irqfds.keys) { state.takeEvents(id) }
        }
    }

    private func assign(_ irqfd: IRQFD) throws(KernelError) {
        let (eventfd, id) = (irqfd.eventfd, irqfd.eventfd.id)
        try state.withLock { state throws(KernelError) in
            if state.irqfds[id] != nil { throw KernelError("ioctl", .resourceBusy) }
            state.irqfds[id] = irqfd
            // Whoever signals from here on waits for the lock.
            eventfd.wait(self) { [weak self] in self?.state.withLock { $0.takeEvents(id) } }
            let count = eventfd.count
            state.irqfds[id]?.seen = count
            if count > 0 { state.raise(irqfd) }
        }
    }

    private func deassign(_ id: Int, _ gsi: UInt32) {
        state.withLock { state in
            guard let irqfd = state.irqfds[id], irqfd.gsi == gsi else { return }
            state.irqfds[id] = nil
            irqfd.eventfd.stopWaiting(self)
            // Taking the waiter away takes the count with it (eventfd_ctx_remove_wait_queue); what came before was
            // raised when it came.
            if irqfd.eventfd.drain() > irqfd.seen { state.raise(irqfd) }
            let isLast = irqfd.resample != nil && !state.irqfds.values.contains { $0.gsi == gsi && $0.resample != nil }
            if isLast { for route in state.routes[gsi] ?? [] { if let pin = route.pin { state.ioapic.lower(pin) } } }
        }
    }
}

extension FakeKVMMachine.State {
    mutating func takeEvents(_ id: Int) {
        guard let irqfd = irqfds[id] else { return }
        if irqfd.seen > 0 && irqfd.eventfd.count == irqfd.seen { return }
        let count = irqfd.eventfd.drain()
        irqfds[id]?.seen = 0
        if count > 0 { raise(irqfd) }
    }

    mutating func raise(_ irqfd: FakeKVMMachine.IRQFD) {
        let routes = routes[irqfd.gsi] ?? []
        if routes.isEmpty { lost[Int(irqfd.gsi), default: 0] += 1 }
        for route in routes {
            if route.isMessage {
                arrivals[.init(Int(irqfd.gsi), route.message), default: 0] += 1
                _ = send(route.words[0], route.words[2])
            } else if let pin = route.pin {
                let sent = irqfd.resample == nil ? ioapic.pulse(pin) : ioapic.raise(pin)
                deliver(sent)
            }
        }
    }

    mutating func deliver(_ sent: FakeIOAPIC.Message?) {
        guard let sent else { return }
        arrivals[.init(Int(sent.pin), nil), default: 0] += 1
        _ = send(sent.address, sent.data)
    }

    func send(_ address: UInt32, _ data: UInt32) -> Bool {
        vcpus[address >> 12 & 0xff]?.request(UInt8(truncatingIfNeeded: data)) ?? false
    }
}
