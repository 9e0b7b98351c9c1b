internal import InterruptSources
internal import LinuxSystem
internal import PCI
internal import Passthrough
internal import Varlink
internal import VfiodAPI

extension VarlinkError {
    /// A session's error as it goes over the wire.
    init(_ error: LeaseError, _ device: PCIAddress) {
        switch error {
        case .notReady(let device, let state, let message):
            self = Session.NotReady(device: "\(device)", state: state, message: message).varlinkError
        case .ended(let device, let reason):
            self = Session.SessionEnded(device: "\(device)", reason: reason.rawValue).varlinkError
        case .badRange(let fault):
            let (reason, message) = fault.words
            self = Session.BadRange(reason: reason, message: message).varlinkError
        case .badMemory(let message): self = Session.BadMemory(message: message).varlinkError
        case .limitReached(.mappings(let limit)):
            self = Session.LimitReached(what: "mappings", limit: limit).varlinkError
        case .limitReached(.bytes(let limit)):
            self = Session.LimitReached(what: "bytes", limit: Int(clamping: limit)).varlinkError
        case .interrupts(.kernel(let error)): self = VarlinkError(error, step: "interrupts", device)
        case .interrupts(let error):
            let (reason, message) = error.words
            self = Session.InterruptsRefused(reason: reason, message: message).varlinkError
        case .kernel(let step, let error): self = VarlinkError(error, step: step, device)
        }
    }

    private init(_ error: KernelError, step: String, _ device: PCIAddress) {
        self =
            Session.KernelRefused(
                device: "\(device)", step: step, call: error.callAndSubject, errno: error.errno.name,
                hint: LeaseError.hint(error, step)
            ).varlinkError
    }
}

extension DMARange.Fault {
    /// Its stable code, and a sentence.
    fileprivate var words: (reason: String, message: String) {
        switch self {
        case .empty: ("empty", "The range has no bytes.")
        case .unaligned: ("unaligned", "Addresses, sizes and offsets are multiples of \(DMARange.pageSize).")
        case .overflow: ("overflow", "The range goes beyond the last address.")
        case .overlaps: ("overlaps", "The range overlaps one that is mapped; unmap that first.")
        case .reserved(let first, let last, let kind):
            (
                "reserved",
                "The IOMMU keeps 0x\(String(first, radix: 16)) to 0x\(String(last, radix: 16)) for itself (\(kind))."
            )
        case .notMapped: ("not-mapped", "This session has mapped no such range; mappings go whole.")
        }
    }
}

extension InterruptError {
    /// Its stable code, and a sentence.
    fileprivate var words: (reason: String, message: String) {
        switch self {
        case .noSuchVector(let index, let count): ("no-such-vector", "There is no vector \(index) of \(count).")
        case .invalidCount(let type, let count): ("invalid-count", "\(type.rawValue) cannot have \(count) vectors.")
        case .alreadyEnabled: ("already-enabled", "The type is on with another number of vectors; turn it off first.")
        case .notEnabled: ("not-enabled", "The type is off.")
        case .destroyed: ("destroyed", "The interrupts were given up.")
        case .hostExhausted(let asked, let available):
            ("host-exhausted", "The host has \(available) of \(asked) interrupt vectors left.")
        case .otherTypeActive: ("other-type-active", "Another type is on.")
        case .noSuchType(let type): ("no-such-type", "The device has no \(type.rawValue).")
        case .notLevelTriggered: ("not-level-triggered", "Only INTx has that.")
        default: ("refused", "\(self)")
        }
    }
}
