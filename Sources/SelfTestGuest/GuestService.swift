internal import KVM
internal import LinuxSystem
internal import SelfTestProtocol
internal import SystemPackage

/// Answers vfiod's requests, one after the other, for the life of one self-test guest.
struct GuestService: ~Copyable {
    private let channel: GuestChannel
    private let system: Result<KVMSystem, GuestFailure>
    private var machine: GuestMachine?

    /// `system` is KVM, or why it cannot be had, which is what the first request is then answered with.
    init(_ channel: consuming GuestChannel, system: Result<KVMSystem, GuestFailure>) {
        self.channel = channel
        self.system = system
    }

    /// Serves until vfiod says ``GuestRequest/finish`` or closes its end. Throws where it cannot understand vfiod, or
    /// answer.
    mutating func run() throws(GuestProtocolError) {
        while true {
            do throws(GuestProtocolError) {
                let received = try channel.receive(GuestRequest.self)
                if received.message == .finish { return }
                let reply: GuestReply
                do throws(GuestFailure) {
                    reply = try answer(received.message, received.descriptors)
                } catch {
                    reply = .failed(error)
                }
                try channel.send(reply)
            } catch .closed {
                return
            } catch {
                // Said so that vfiod's log names it; what follows on this socket cannot be trusted to be in step.
                let refusal = KernelError("message: \(error)", .badMessage)
                try channel.send(GuestReply.failed(GuestFailure(step: "understand vfiod", refusal)))
                throw error
            }
        }
    }

    /// The machine of an earlier ``answer(_:_:)``, to end it where the process goes on.
    var current: GuestMachine? { machine }

    private mutating func answer(
        _ request: GuestRequest, _ descriptors: [SharedDescriptor]
    ) throws(GuestFailure) -> GuestReply {
        switch request {
        case .setUp(let delivery, let slots, let fault):
            guard machine == nil else { throw GuestService.refused("make the guest", "it exists") }
            guard let counters = descriptors.first, descriptors.count == 1 else {
                throw GuestService.refused("make the guest", "\(descriptors.count) descriptors, not 1")
            }
            let made = try GuestMachine(
                system.get(), delivery, slots: slots, fault: fault, counters: GuestService.owned(counters))
            made.start()
            machine = made
            return .ready
        case .connect(let first, let count):
            let machine = try running("join slots")
            // A level has two descriptors for its one slot.
            let extra = machine.delivery == .level ? 1 : 0
            guard count > 0, descriptors.count - extra == count else {
                throw GuestService.refused("join slots", "\(descriptors.count) descriptors for \(count) slots")
            }
            let notifiers = try descriptors.map { descriptor throws(GuestFailure) in
                try GuestService.notifier(descriptor)
            }
            try machine.connect(
                first: first, Array(notifiers.dropLast(extra)), resample: extra == 0 ? nil : notifiers.last)
            return .connected
        case .disconnect(let first, let count):
            try running("part slots").disconnect(first: first, count: count)
            return .disconnected
        case .finish:
            return .disconnected
        }
    }

    /// The machine, whose CPUs have not ended by themselves.
    private func running(_ step: String) throws(GuestFailure) -> GuestMachine {
        guard let machine else { throw GuestService.refused(step, "there is no guest yet") }
        if let (vcpu, exit) = machine.exits.first {
            throw GuestFailure(step: step, KernelError("virtual CPU \(vcpu) ended: \(exit)", .ioError))
        }
        return machine
    }

    private static func refused(_ step: String, _ reason: String) -> GuestFailure {
        GuestFailure(step: step, KernelError(reason, .invalidArgument))
    }

    private static func owned(_ descriptor: SharedDescriptor) throws(GuestFailure) -> OwnedDescriptor {
        do {
            return try descriptor.duplicate()
        } catch {
            throw GuestFailure(step: "take over a descriptor", error)
        }
    }

    private static func notifier(_ descriptor: SharedDescriptor) throws(GuestFailure) -> EventFD {
        let owned = try owned(descriptor)
        do throws(KernelError) {
            return try EventFD(adopting: owned)
        } catch {
            throw GuestFailure(step: "take over an eventfd", error)
        }
    }
}
