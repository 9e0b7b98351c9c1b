internal import LinuxSystem
internal import PCI
internal import VFIO

// Memory of the owner's, which the device sees.
extension LeaseSession {
    func map(
        _ range: DMARange, _ file: MemoryFile, at offset: UInt64, writable: Bool, patience: Duration?
    ) async throws(LeaseError) {
        let (memory, address) = (memory, address)
        let pinned = Eventual<Result<Void, LeaseError>>()
        try mustBeOpen()
        guard let lane = memory.lane else { throw .badRange(.notMapped) }
        lane.start { [self] in
            do throws(LeaseError) {
                try memory.map(range, file, at: offset, writable: writable, for: address) { () throws(LeaseError) in
                    try mustBeOpen()
                }
                pinned.resolve(.success(()))
            } catch {
                // Before whatever its owner asks next, should he have been told otherwise by then.
                lost.withLock { _ = $0.insert(range) }
                pinned.resolve(.failure(error))
            }
        }
        if let result = await pinned.value(within: patience, on: clock) {
            if case .failure = result { lost.withLock { _ = $0.remove(range) } }
            return try result.get()
        }
        gate.withLock { $0.close() }
        Task { await settle(await pinned.value(), range) }
    }

    func unmap(_ range: DMARange) async throws(LeaseError) {
        let (memory, address) = (memory, address)
        try mustBeOpen()
        guard let lane = memory.lane else { throw .badRange(.notMapped) }
        try await lane.run { [self] () throws(LeaseError) in
            // What waited behind others may come after the session's end has begun.
            try mustBeOpen()
            // Its owner takes it for mapped.
            if lost.withLock({ $0.remove(range) }) != nil { return }
            try memory.unmap(range, of: address)
        }
    }

    /// Memory that its owner was told is mapped now is, or never will be.
    private func settle(_ result: Result<Void, LeaseError>, _ range: DMARange) async {
        if case .failure(let error) = result {
            if case .ended = error { return }
            failed(.memory(range, error))
        }
        do throws(LeaseError) {
            try await onLane("let the device be a bus master") { [self] (core) throws(KernelError) in
                let isToBeOn = gate.withLock { gate in
                    if case .success = result { gate.open(succeeded: true) } else { gate.open(succeeded: false) }
                }
                if isToBeOn { try core.device.setBusMaster(true) }
            }
        } catch {
            if case .ended = error { return }
            failed(.busMaster(error))
        }
    }
}

/// What went wrong in a session after its owner was told otherwise.
enum LateFailure: Sendable, CustomStringConvertible {
    /// Memory could not be mapped.
    case memory(DMARange, LeaseError)
    /// The device could not be made a bus master.
    case busMaster(LeaseError)

    /// For example `memory: …`.
    var description: String {
        switch self {
        case .memory(let range, let error): "memory: \(range) cannot be mapped: \(error)"
        case .busMaster(let error): "bus master: \(error)"
        }
    }
}
