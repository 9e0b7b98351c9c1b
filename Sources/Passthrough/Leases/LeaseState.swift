public import LinuxSystem
public import PCI

/// How it stands with a leased device that is not idle.
struct LeaseState: Sendable {
    enum Phase: Sendable {
        /// It is being opened; done when it is in use, or nothing.
        case opening(Eventual<Void>)
        case inUse(LeaseSession)
        case ending(Eventual<Void>)
        case held([Holder])
        /// It did not open in time.
        case failed(String)
    }

    var phase: Phase
    /// What went wrong in the session after its owner was told otherwise.
    var lateFailure: LateFailure?
    /// Whose session it is or was, if there was one since vfiod began.
    var peer: SessionPeer?
    /// To be called when the session is over.
    var ended: @Sendable () -> Void = {}

    var state: LeasedDevice.State {
        switch phase {
        case .opening, .inUse: .inUse
        case .ending: .ending
        case .held: .held
        case .failed: .failed
        }
    }

    /// Who uses it, or did until now.
    var session: SessionPeer? {
        switch phase {
        case .opening, .inUse, .ending: peer
        default: nil
        }
    }

    var holders: [Holder] { if case .held(let holders) = phase { holders } else { [] } }
    var failure: String? {
        switch phase {
        case .failed(let reason): reason
        case .inUse: lateFailure.map { "failed: \($0)" }
        default: nil
        }
    }

    private var who: String { peer?.description ?? "somebody" }

    /// Why no session may begin, as a sentence.
    var message: String {
        switch phase {
        case .opening, .inUse: "It is used by \(who)."
        case .ending: "The session of \(who) is being ended."
        case .held(let holders) where holders.isEmpty: "A process that cannot be found has it open."
        case .held(let holders): "It is open in " + holders.map(\.description).joined(separator: ", ") + "."
        case .failed(let reason): "The last session did not begin: \(reason). Detach it."
        }
    }
}

/// The sockets on which sessions begin.
public protocol LeaseEndpoints: Sendable {
    /// Lets the owner begin sessions of a device at `path`, in the form `mode`. `mapsBARs`: whether a VMM may map its
    /// registers.
    func open(_ address: PCIAddress, at path: String, for owner: LeaseOwner, _ mode: LeaseMode, mapsBARs: Bool)
        async throws(KernelError)

    /// Nobody begins one any more, and who is connected is disconnected.
    func close(_ address: PCIAddress) async
}
