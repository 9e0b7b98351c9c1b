internal import LinuxSystem
internal import Logging
public import PCI
internal import VFIO
internal import VFIOInterrupts

// Sessions: who has a lease's device open, from its connection to the last step of its end.
extension PassthroughHost {
    /// Opens a leased device for a session. The call returns when the device is open, or could not be within the deadline.
    public func beginSession(
        _ address: PCIAddress, for peer: SessionPeer, ended: @escaping @Sendable () -> Void
    ) async throws(LeaseError) -> any DeviceSession {
        await lookWhetherHeld(address)
        if let reason = quarantineOfIdle(address) {
            throw .notReady(
                address, state: LeasedDevice.State.quarantined.rawValue, message: "It is quarantined: \(reason)")
        }
        if let state = leaseStates[address] {
            throw .notReady(address, state: state.state.rawValue, message: state.message)
        }
        guard let record = records[address], record.lease != nil, record.phase == .bound, isIdle(address),
            let group = sysfs.iommuGroup(of: address), sysfs.driver(of: address) == Planner.driver
        else {
            throw .notReady(
                address, state: running[address].map(\.operation.name) ?? "changed",
                message: "It is not leased and bound to \(Planner.driver), or is being worked on.")
        }
        let opened = Eventual<Void>()
        leaseStates[address] = LeaseState(phase: .opening(opened), peer: peer, ended: ended)
        defer { opened.resolve(()) }
        do throws(LeaseError) {
            let session = try await open(address, iommuGroup: group)
            leaseStates[address]?.phase = .inUse(session)
            logger.notice(
                "a session of \(address) begins, of \(peer)",
                metadata: [
                    "event": "session-begin", "device": "\(address)", "peer_uid": "\(peer.user)",
                    "peer_gid": "\(peer.group)", "peer_pid": "\(peer.processID)",
                ])
            return session
        } catch {
            if case .opening = leaseStates[address]?.phase { leaseStates[address] = nil }
            logger.error("no session of \(address) begins: \(error)", metadata: ["device": "\(address)"])
            throw error
        }
    }

    /// Ends the session of a device, if there is one, and returns when it is over.
    public func endSession(_ address: PCIAddress, _ reason: SessionEndReason) async {
        if case .opening(let opened) = leaseStates[address]?.phase { await opened.value() }
        if case .ending(let over) = leaseStates[address]?.phase { return await over.value() }
        guard let state = leaseStates[address], case .inUse(let session) = state.phase else { return }
        let over = Eventual<Void>()
        leaseStates[address]?.phase = .ending(over)
        session.close(reason)
        logger.notice(
            "the session of \(address) ends: \(reason.clause)",
            metadata: ["event": "session-end", "device": "\(address)", "reason": "\(reason.rawValue)"])
        var ending = SessionEnding(
            session, sysfs: sysfs, deadlines: configuration.sessionDeadlines, clock: clock, logger: logger)
        let failures = await ending.run { [liveGroups] in liveGroups.remove(address) }
        if !failures.isEmpty {
            let peer = state.peer.map { " of \($0)" } ?? ""
            let reason = "The session\(peer) did not end well: " + failures.joined(separator: "; ") + "."
            await quarantine(address, because: reason)
        }
        leaseStates[address]?.phase = .held([])
        await lookWhetherHeld(address)
        warnIfHeld(address)
        over.resolve(())
        state.ended()
    }

    /// Ends all sessions, each beside the others.
    public func endSessions() async {
        await withTaskGroup(of: Void.self) { group in
            for address in leaseStates.keys { group.addTask { await self.endSession(address, .stopping) } }
        }
    }

    /// Looks again at a device that somebody holds without a session; it is idle when nobody does.
    func lookWhetherHeld(_ address: PCIAddress) async {
        guard case .held = leaseStates[address]?.phase else { return }
        let finding = await hold(on: address)
        guard case .held = leaseStates[address]?.phase else { return }
        if finding.isHeld {
            leaseStates[address]?.phase = .held(finding.holders)
        } else {
            leaseStates[address] = nil
        }
    }

    /// Why a device that no session uses is quarantined, nil if it is not.
    func quarantineOfIdle(_ address: PCIAddress) -> String? {
        leaseStates[address]?.session == nil ? records[address]?.quarantine : nil
    }

    /// Who holds a device. One whose IOMMU group does not answer in time counts as held.
    func hold(on address: PCIAddress) async -> HoldSearch.Finding {
        let search = holdSearch(of: address)
        let found = Eventual<HoldSearch.Finding>()
        let unknown = HoldSearch.Finding(isHeld: true, holders: [])
        guard let lane = try? BlockingLane(name: address.description) else { return unknown }
        lane.start { found.resolve(search.run()) }
        return await found.value(within: configuration.readDeadline, on: clock) ?? unknown
    }

    func holdSearch(of address: PCIAddress) -> HoldSearch {
        let group = sysfs.iommuGroup(of: address)
        let neighbours = (group.flatMap { memories[$0]?.users } ?? []).subtracting([address])
        return HoldSearch(
            address: address, iommuGroup: group, search: holderSearch, kernel: kernel, users: users(beside: address),
            isShared: !neighbours.isEmpty)
    }

    /// The processes of the sessions of other devices.
    func users(beside address: PCIAddress) -> Set<Int> {
        Set(leaseStates.filter { $0.key != address }.compactMap { $0.value.session?.processID })
    }

    private func open(_ address: PCIAddress, iommuGroup: Int) async throws(LeaseError) -> LeaseSession {
        let memory =
            memories[iommuGroup]
            ?? LeaseMemory(iommuGroup: iommuGroup, limits: configuration.leaseLimits, kernel: kernel, sysfs: sysfs)
        memories[iommuGroup] = memory
        let lane: BlockingLane
        do throws(KernelError) {
            lane = try BlockingLane(name: address.description)
        } catch {
            throw .kernel(step: "start", error)
        }
        let (sysfs, loop, liveGroups, token) = (sysfs, loop, liveGroups, token(for: address))
        let opened = Eventual<Result<LeaseSession, LeaseError>>()
        let clock = clock
        let told: @Sendable (VFIODeviceEvent) -> Void = { [weak self] event in self?.tell(event, of: address) }
        let failed: @Sendable (LateFailure) -> Void = { [weak self] failure in
            Task { await self?.note(failure, of: address) }
        }
        lane.start {
            do throws(LeaseError) {
                let session = try LeaseSession.open(
                    address, token, in: memory, on: lane, sysfs: sysfs, loop: loop, clock: clock, told: told,
                    failed: failed)
                if let core = session.opened { liveGroups.add(address, core.groups) }
                opened.resolve(.success(session))
            } catch {
                opened.resolve(.failure(error))
            }
        }
        if let result = await opened.value(within: configuration.stepDeadline, on: clock) { return try result.get() }
        leaseStates[address]?.phase = .failed("it did not open within \(configuration.stepDeadline)")
        Task {
            // Should it open after all, nobody uses it.
            guard case .success(let session) = await opened.value() else { return }
            leaseStates[address]?.phase = .inUse(session)
            await endSession(address, .connectionClosed)
        }
        throw .notReady(
            address, state: LeasedDevice.State.failed.rawValue,
            message: "It did not open within \(configuration.stepDeadline); the kernel has not answered.")
    }

    /// The session goes on, without what its owner takes for done.
    private func note(_ failure: LateFailure, of address: PCIAddress) {
        guard var state = leaseStates[address], case .inUse = state.phase else { return }
        state.lateFailure = state.lateFailure ?? failure
        leaseStates[address] = state
        logger.error(
            "the session of \(address) has failed: \(failure). The device stays no bus master: end the session.",
            metadata: ["event": "session-failed", "device": "\(address)"])
    }

    /// Takes what a device tells of, on the event loop.
    private nonisolated func tell(_ event: VFIODeviceEvent, of address: PCIAddress) {
        logger.log(event, of: address, during: "session")
        Task { await endSession(address, event == .request ? .askedBack : .deviceError) }
    }

    func warnIfHeld(_ address: PCIAddress) {
        guard let state = leaseStates[address], case .held(let holders) = state.phase else { return }
        let processes = holders.map { "\($0.processID)" }.joined(separator: " ")
        logger.warning(
            "\(address) is held after its session: \(state.message)",
            metadata: ["event": "device-held", "device": "\(address)", "holders": "\(processes)"])
    }
}
