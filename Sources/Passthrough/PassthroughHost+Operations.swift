internal import LinuxSystem
internal import Logging
internal import PCI

// How an operation runs: on the device's lane, watched, and waited for as long as the deadline allows.
extension PassthroughHost {
    /// The name of the operation that closes the record of a device that is gone.
    static let closing = "close"

    /// What an operation does, on the device's lane. Returns the record that remains.
    typealias Work = @Sendable (RunningOperation) -> (record: DeviceRecord?, error: PassthroughError?)

    /// Begins `work` on a device, which must be idle. It goes on whether somebody waits for it or not; with `insisting`
    /// until it succeeds or the device is gone. `siblings`, which must be idle too, are busy with it as long.
    func begin(
        _ name: String, on address: PCIAddress, with siblings: SiblingRecords? = nil, insisting: Bool = false,
        progress: ProgressReport? = nil, _ work: @escaping Work
    ) throws(PassthroughError) -> Running {
        try mustBeIdle(address)
        for sibling in siblings?.addresses ?? [] { try mustBeIdle(sibling) }
        let lane = try lane(for: address)
        let operation = RunningOperation(name, step: "plan", progress: progress, stops: stops) { [followers] state in
            followers.tell(DeviceEvent(.operationStep, address, operation: state))
        }
        let run = Running(operation: operation, end: Eventual(), siblings: siblings)
        running[address] = run
        for sibling in siblings?.addresses ?? [] { running[sibling] = run }
        tell(.operationBegun, address, operation: operation.snapshot)
        for sibling in siblings?.addresses ?? [] { tell(.changed, sibling) }
        // The lane lives as long as the operation.
        Task {
            var result = await attempt(work, operation, address, on: lane)
            while insisting, let error = result.error, sysfs.contains(address) {
                logger.warning("\(name) of \(address) failed and is tried again: \(error)")
                operation.note("\(error); it is tried again")
                try? await clock.sleep(for: configuration.retryInterval)
                result = await attempt(work, operation, address, on: lane)
            }
            if let siblings { await lane.run { [reader] in siblings.read(by: reader) } }
            end(run, of: address, record: result.record, error: result.error, reading: result.reading)
        }
        return run
    }

    /// The lane of an operation, named after its device.
    private func lane(for address: PCIAddress) throws(PassthroughError) -> BlockingLane {
        do throws(KernelError) {
            return try BlockingLane(name: address.description)
        } catch {
            throw .kernel(address, step: "start", error, hint: "vfiod is at its limit of threads or descriptors.")
        }
    }

    /// Does the work, and looks at what it made of the device.
    private nonisolated func attempt(
        _ work: @escaping Work, _ operation: RunningOperation, _ address: PCIAddress, on lane: BlockingLane
    ) async -> (record: DeviceRecord?, error: PassthroughError?, reading: DeviceReading) {
        let reader = reader
        return await lane.run {
            let result = work(operation)
            return (result.record, result.error, reader.read(address))
        }
    }

    /// Enters the outcome before anybody who waits for it can see it.
    private func end(
        _ run: Running, of address: PCIAddress, record: DeviceRecord?, error: PassthroughError?, reading: DeviceReading
    ) {
        enter(reading, driverIsBound: true)
        let wasLeased = records[address]?.lease != nil
        records[address] = record
        if wasLeased && record == nil { forgetLease(address) }
        running[address] = nil
        endSiblings(of: run)
        let name = run.operation.name
        if let error {
            logger.error("\(name) of \(address) failed: \(error)")
        } else {
            logger.info("\(name) of \(address) is done")
        }
        tell(.operationEnded, address, operation: run.operation.snapshot, failure: error)
        followDrift(around: address)
        // What could not be closed is left to the next start.
        if name != PassthroughHost.closing { closeIfGone(address) } else { giveBackSiblingsLeft(by: address) }
        run.end.resolve(error)
    }

    /// Waits for the end, but for no step longer than the deadline.
    func wait(for run: Running, of address: PCIAddress) async throws(PassthroughError) {
        defer { run.operation.endProgress() }
        while true {
            let stepsBegun = run.operation.stepsBegun
            if let end = await run.end.value(within: configuration.stepDeadline, on: clock) {
                if let error = end { throw error }
                return
            }
            guard run.operation.stepsBegun == stepsBegun else { continue }
            let cause =
                await holdUp(run, of: address) ?? "The kernel has not answered, and no process is seen to hold it."
            run.operation.note(cause)
            let state = run.operation.snapshot
            throw .stillRunning(address, operation: state.name, step: state.step, cause: cause)
        }
    }

    /// Says who holds a step up, as long as the operation runs.
    func watch(_ run: Running, of address: PCIAddress) {
        Task {
            while await run.end.value(within: configuration.watchInterval, on: clock) == nil {
                if let cause = await holdUp(run, of: address) { run.operation.note(cause) }
            }
        }
    }

    private func holdUp(_ run: Running, of address: PCIAddress) async -> String? {
        // Who holds the device holds up no reset; in one of the whole bus that is vfiod itself.
        if run.operation.name == PassthroughHost.resetting {
            return "The device has not come back, and the kernel still waits for it."
        }
        let (search, users) = (holderSearch, users(beside: address))
        let holders = await readingLane.run { search.holders(of: address, users: users) }
        if holders.isEmpty { return nil }
        let names = holders.map(\.description).joined(separator: ", ")
        return "\(names) \(holders.count == 1 ? "holds" : "hold") the device; the kernel waits until that ends."
    }

    nonisolated func transition(_ address: PCIAddress, _ operation: RunningOperation) -> DriverTransition {
        DriverTransition(
            address: address, root: configuration.root, writer: writer, log: log, operation: operation)
    }
}
