public import InterruptSources
public import KVM
public import LinuxSystem

/// The in-kernel interrupt controllers of one KVM virtual machine as the sink of interrupt source groups, and the one
/// owner of its routing table: KVM_SET_GSI_ROUTING replaces the table as a whole, so there must not be a second.
///
/// The table is kept as the kernel takes it, so that a commit costs what the kernel's part of it costs, whatever else
/// stands in it. Routes that are not of a group, the *foreign* ones, stand in every table; whoever owns them changes them
/// through ``setForeignRoutes(_:with:)``.
///
/// Only in the process that made the machine. Numbers for messages are 24 to 4,095; those below are the IOAPIC's pins.
public final class KVMInterruptSink: InterruptSink {
    /// The numbers that messages can have: above the IOAPIC's pins, below KVM's limit.
    public static let messageNumbers = InterruptNumbers.messages

    fileprivate struct State {
        var foreign: [KVMRoute]
        var numbers: InterruptNumbers
        var table: RoutingTable
    }

    private let machine: KVMVirtualMachine
    private let hasWideAPICIDs: Bool
    // One lock for table and numbers, held over the request, so that tables reach the kernel in the order they were
    // made. An irqfd needs none: the kernel orders them.
    private let state: Lock<State>

    /// Takes over the routing table of `machine`, which has its interrupt controllers. `foreign` are the routes in force:
    /// those of the pins, and any that the VMM made for itself. `hasWideAPICIDs` says that
    /// ``KVMVirtualMachine/enableWideAPICIDs()`` was called, with which KVM checks addresses.
    public init(
        _ machine: KVMVirtualMachine, keeping foreign: [KVMRoute] = KVMRoute.defaults, hasWideAPICIDs: Bool = false
    ) {
        self.machine = machine
        self.hasWideAPICIDs = hasWideAPICIDs
        state = Lock(
            State(
                foreign: foreign, numbers: InterruptNumbers(foreign: foreign), table: RoutingTable(foreign: foreign)))
    }

    /// Reserves `count` consecutive numbers for messages and returns the first. There are never more numbers than the
    /// table can have routes.
    public func reserve(_ count: Int) throws(InterruptError) -> Int {
        try state.withLock { state throws(InterruptError) in
            if let numbers = state.numbers.reserve(count) { return numbers.lowerBound }
            // Those that wait for the next table may be enough.
            if !state.numbers.abandoned.isEmpty {
                try? commit([], &state)
                if let numbers = state.numbers.reserve(count) { return numbers.lowerBound }
            }
            throw .numbersExhausted(asked: count, available: state.numbers.available)
        }
    }

    /// Gives numbers back. One that still has a route is not given to others before the commit that drops it, which is
    /// the next.
    public func release(_ numbers: Range<Int>) {
        state.withLock { state in
            for number in numbers.clamped(to: KVMInterruptSink.messageNumbers) where state.numbers.isReserved(number) {
                state.numbers.release(number, hasRoute: state.table[number] != nil)
            }
        }
    }

    /// Sets or drops routes in one KVM_SET_GSI_ROUTING, none if nothing changes. After an error the routes are as before.
    ///
    /// Checked before: a message's number must be reserved and a pin exist (``InterruptError/numberNotReserved(_:)``), and
    /// an address be one that KVM takes (``InterruptError/addressRefused(_:)``).
    public func commit(_ changes: [RouteChange]) throws(InterruptError) {
        try state.withLock { state throws(InterruptError) in try commit(changes, &state) }
    }

    /// The foreign routes, as they stand in every table.
    public var foreignRoutes: [KVMRoute] { state.withLock { $0.foreign } }

    /// Puts these routes in the place of all foreign ones, together with `changes` of others, in one
    /// KVM_SET_GSI_ROUTING. After an error all routes are as before.
    ///
    /// Throws ``InterruptError/numberInUse(_:)`` for a number that is reserved, or that has a message and anything else
    /// or the same chip's pin twice; ``InterruptError/numberNotReserved(_:)`` for one above 4,095 and for a pin that its
    /// chip does not have; ``InterruptError/addressRefused(_:)``; and ``InterruptError/numbersExhausted(asked:available:)``
    /// for more routes than stand in a table beside those that are reserved.
    public func setForeignRoutes(_ routes: [KVMRoute], with changes: [RouteChange] = []) throws(InterruptError) {
        try state.withLock { state throws(InterruptError) in
            try checkForeign(routes, state)
            var changed = state
            changed.foreign = routes
            changed.numbers = state.numbers.replacing(foreign: routes)
            changed.table = state.table.replacing(foreign: routes)
            try commit(changes, &changed, isChanged: routes != state.foreign)
            state = changed
        }
    }

    /// Lets `notifier` raise `number` (KVM_IRQFD).
    public func attach(_ notifier: EventFD, to number: Int, resample: EventFD?) throws(InterruptError) {
        let gsi = try irqfdNumber(number)
        do {
            try machine.assignIRQFD(notifier.rawValue, gsi: gsi, resample: resample?.rawValue)
        } catch {
            throw .kernel(error)
        }
    }

    /// Ends that (KVM_IRQFD with KVM_IRQFD_FLAG_DEASSIGN).
    public func detach(_ notifier: EventFD, from number: Int) throws(InterruptError) {
        let gsi = try irqfdNumber(number)
        do {
            try machine.deassignIRQFD(notifier.rawValue, gsi: gsi)
        } catch {
            throw .kernel(error)
        }
    }

    private func commit(
        _ changes: [RouteChange], _ state: inout State, isChanged: Bool = false
    ) throws(InterruptError) {
        for change in changes { try check(change, state) }
        var previous: [(number: Int, target: KVMRoute.Target?)] = []
        previous.reserveCapacity(changes.count)
        for number in state.numbers.abandoned { state.set(number, nil, &previous) }
        for change in changes { state.set(change.number, target(of: change, state), &previous) }
        if previous.isEmpty && !isChanged { return }
        do throws(KernelError) {
            try machine.setRouting(&state.table.entries)
        } catch {
            // The kernel still has the old table (KVMVirtualMachine.setRouting), so only ours is to be taken back.
            for (number, target) in previous.reversed() { state.table[number] = target }
            throw .kernel(error)
        }
        state.numbers.freeAbandoned()
    }

    private func check(_ change: RouteChange, _ state: borrowing State) throws(InterruptError) {
        switch change.route {
        case nil:
            guard change.number >= 0, change.number < KVMRoute.maximumCount else {
                throw .numberNotReserved(change.number)
            }
        case .pin:
            guard change.number >= 0, change.number < KVMRoute.Chip.ioapic.pinCount else {
                throw .numberNotReserved(change.number)
            }
        case .message(let message):
            guard state.numbers.isReserved(change.number) else { throw .numberNotReserved(change.number) }
            try check(message.address)
        }
    }

    private func check(_ address: UInt64) throws(InterruptError) {
        // KVM looks at the upper half only where local APIC ids have 32 bits (kvm_set_routing_entry,
        // arch/x86/kvm/irq.c).
        if hasWideAPICIDs && (address >> 32) & 0xff != 0 { throw .addressRefused(address) }
    }

    private func checkForeign(_ routes: [KVMRoute], _ state: borrowing State) throws(InterruptError) {
        var chips: [UInt32: [KVMRoute.Chip?]] = [:]
        for route in routes {
            let number = Int(route.gsi)
            guard number < KVMRoute.maximumCount else { throw .numberNotReserved(number) }
            if state.numbers.isOurs(number) { throw .numberInUse(number) }
            let others = chips[route.gsi, default: []]
            switch route.target {
            case .message(let address, _, _):
                guard others.isEmpty else { throw .numberInUse(number) }
                try check(address)
                chips[route.gsi] = [nil]
            case .pin(let chip, let pin):
                guard pin < chip.pinCount else { throw .numberNotReserved(Int(pin)) }
                guard !others.contains(nil), !others.contains(chip) else { throw .numberInUse(number) }
                chips[route.gsi] = others + [chip]
            }
        }
        let room = KVMRoute.maximumCount - state.numbers.ownCount
        guard routes.count <= room else { throw .numbersExhausted(asked: routes.count, available: room) }
    }

    /// What our part of the table has to hold for a route: nil for none, and for a pin whose route is foreign.
    private func target(of change: RouteChange, _ state: borrowing State) -> KVMRoute.Target? {
        switch change.route {
        case nil:
            return nil
        case .pin:
            let gsi = UInt32(truncatingIfNeeded: change.number)
            let target = KVMRoute.Target.pin(.ioapic, gsi)
            return state.foreign.contains(KVMRoute(gsi: gsi, target)) ? nil : target
        case .message(let message):
            return .message(address: message.address, data: message.data, deviceID: message.deviceID)
        }
    }

    private func irqfdNumber(_ number: Int) throws(InterruptError) -> UInt32 {
        guard number >= 0, number < KVMRoute.maximumCount else { throw .numberNotReserved(number) }
        return UInt32(truncatingIfNeeded: number)
    }
}

extension KVMInterruptSink.State {
    /// Changes our route of a number, and notes what it was if that is another.
    fileprivate mutating func set(
        _ number: Int, _ target: KVMRoute.Target?, _ previous: inout [(number: Int, target: KVMRoute.Target?)]
    ) {
        let was = table[number]
        if was == target { return }
        previous.append((number, was))
        table[number] = target
    }
}
