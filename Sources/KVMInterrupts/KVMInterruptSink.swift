public import InterruptSources
public import KVM
public import LinuxSystem
internal import SystemPackage

/// The in-kernel interrupt controllers of one KVM virtual machine as the sink of interrupt source groups, and the one
/// owner of its routing table: KVM_SET_GSI_ROUTING replaces the table as a whole, so there must not be a second.
///
/// Only in the process that made the machine. Numbers for messages are 24 to 4,095; those below are the IOAPIC's pins.
public final class KVMInterruptSink: InterruptSink {
    /// The numbers that messages can have: above the IOAPIC's pins, below KVM's limit.
    public static let messageNumbers = 24..<KVMRoute.maximumCount

    private struct State {
        var allocator: NumberAllocator
        /// Numbers that were reserved and not released.
        var reserved: Set<Int> = []
        /// Our routes as the kernel has them.
        var routes: [Int: KVMRoute.Target] = [:]
    }

    private let machine: KVMVirtualMachine
    private let kept: [KVMRoute]
    private let hasWideAPICIDs: Bool
    // One lock for table and numbers, held over the request, so that tables reach the kernel in the order they were
    // made. An irqfd needs none: the kernel orders them.
    private let state: Lock<State>

    /// Takes over the routing table of `machine`, which has its interrupt controllers. `kept` are the routes in force,
    /// which stay in every table: those of the pins, and any that the VMM made for itself. `hasWideAPICIDs` says that
    /// ``KVMVirtualMachine/enableWideAPICIDs()`` was called, with which KVM checks addresses.
    public init(
        _ machine: KVMVirtualMachine, keeping kept: [KVMRoute] = KVMRoute.defaults, hasWideAPICIDs: Bool = false
    ) {
        self.machine = machine
        self.kept = kept
        self.hasWideAPICIDs = hasWideAPICIDs
        let taken = Set(kept.map { Int($0.gsi) })
        state = Lock(State(allocator: NumberAllocator(KVMInterruptSink.messageNumbers, except: taken)))
    }

    /// Reserves `count` consecutive numbers for messages and returns the first. There are never more numbers than the
    /// table can have routes.
    public func reserve(_ count: Int) throws(InterruptError) -> Int {
        try state.withLock { state throws(InterruptError) in
            let room = max(0, KVMRoute.maximumCount - kept.count - state.reserved.count)
            guard count <= room, let numbers = state.allocator.take(count) else {
                throw .numbersExhausted(asked: count, available: min(room, state.allocator.largest))
            }
            state.reserved.formUnion(numbers)
            return numbers.lowerBound
        }
    }

    /// Gives numbers back. One that still has a route stays reserved: its next owner would get foreign interrupts.
    public func release(_ numbers: Range<Int>) {
        state.withLock { state in
            for number in numbers where state.routes[number] == nil {
                guard state.reserved.remove(number) != nil else { continue }
                state.allocator.give(number..<number + 1)
            }
        }
    }

    /// Sets or drops routes in one KVM_SET_GSI_ROUTING, none if nothing changes. Checked before: a message's number
    /// must be reserved and its address one that KVM takes, a pin must exist. After an error the routes are as before.
    public func commit(_ changes: [RouteChange]) throws(InterruptError) {
        try state.withLock { state throws(InterruptError) in
            var changed = state.routes
            for change in changes {
                changed[change.number] = try target(of: change.route, change.number, state.reserved)
            }
            if changed == state.routes { return }
            var table = kept
            for (number, target) in changed.sorted(by: { $0.key < $1.key }) {
                table.append(KVMRoute(gsi: UInt32(clamping: number), target))
            }
            do throws(KernelError) {
                try machine.setRouting(table)
            } catch {
                throw .kernel(error)
            }
            state.routes = changed
        }
    }

    /// Lets `notifier` raise `number` (KVM_IRQFD).
    public func attach(_ notifier: EventFD, to number: Int, resample: EventFD?) throws(InterruptError) {
        guard let gsi = UInt32(exactly: number) else { throw KVMInterruptSink.refused("KVM_IRQFD", number) }
        do {
            try machine.assignIRQFD(notifier.rawValue, gsi: gsi, resample: resample?.rawValue)
        } catch {
            throw .kernel(error)
        }
    }

    /// Ends that (KVM_IRQFD with KVM_IRQFD_FLAG_DEASSIGN).
    public func detach(_ notifier: EventFD, from number: Int) throws(InterruptError) {
        guard let gsi = UInt32(exactly: number) else { throw KVMInterruptSink.refused("KVM_IRQFD", number) }
        do {
            try machine.deassignIRQFD(notifier.rawValue, gsi: gsi)
        } catch {
            throw .kernel(error)
        }
    }

    /// What our part of the table has to hold for a route: nil for none, and for a pin whose route is kept anyway.
    private func target(
        of route: InterruptRoute?, _ number: Int, _ reserved: Set<Int>
    ) throws(InterruptError) -> KVMRoute.Target? {
        switch route {
        case nil:
            return nil
        case .pin:
            guard let gsi = UInt32(exactly: number), number < KVMInterruptSink.messageNumbers.lowerBound else {
                throw KVMInterruptSink.refused("KVM_SET_GSI_ROUTING", number)
            }
            let target = KVMRoute.Target.pin(.ioapic, gsi)
            return kept.contains(KVMRoute(gsi: gsi, target)) ? nil : target
        case .message(let message):
            guard reserved.contains(number) else { throw KVMInterruptSink.refused("KVM_SET_GSI_ROUTING", number) }
            // KVM checks this only where local APIC ids have 32 bits (kvm_set_routing_entry, arch/x86/kvm/irq.c).
            if hasWideAPICIDs && (message.address >> 32) & 0xff != 0 {
                let address = "address 0x" + String(message.address, radix: 16)
                throw .kernel(KernelError("KVM_SET_GSI_ROUTING", on: address, .invalidArgument))
            }
            return .message(address: message.address, data: message.data, deviceID: message.deviceID)
        }
    }

    private static func refused(_ request: String, _ number: Int) -> InterruptError {
        .kernel(KernelError(request, on: "interrupt number \(number)", .invalidArgument))
    }
}
