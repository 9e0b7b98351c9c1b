internal import InterruptSources
internal import LinuxSystem
internal import Logging
internal import PCI
internal import SystemPackage
internal import VFIO

/// How long each step of a session's end may take.
public struct SessionDeadlines: Hashable, Sendable {
    /// Every step but the reset.
    public var step = Duration.seconds(2)
    /// The reset: a function may take 100 ms to be reset and, by the kernel's patience, a minute to answer again.
    public var reset = Duration.seconds(10)

    /// The defaults.
    public init() {}

    /// How long an end may take in all.
    public var total: Duration { step * (SessionEndStep.allCases.count - 1) + reset }
}

/// What a session's end does, in this order.
public enum SessionEndStep: String, Sendable, CaseIterable {
    /// The device does no DMA any more, and sends no messages.
    case busMasterOff = "bus-master-off"
    /// No interrupt type is on.
    case disableInterrupts = "disable-interrupts"
    /// The device asserts its line no more.
    case disableINTx = "disable-intx"
    /// The device sees no memory any more.
    case unmap
    /// The device is reset, where it can be.
    case reset
    /// The device answers, as itself.
    case verify
    /// The device, and with the last one its IOMMU group, is closed.
    case release
}

/// Ends a session, step by step, each with its own deadline.
///
/// A step that fails or is late stops none of those after it: each takes away something that the one before may have
/// left. If bus mastering stays on, the IOMMU still stops the device from the fourth step on, as memory is unmapped before
/// its pages are given back, and the reset stops the device itself. A late step keeps its thread, and the device open; those
/// after it get another.
struct SessionEnding {
    private struct Failure: Error {
        let text: String
        var errno: String?
    }

    private let session: LeaseSession
    private let sysfs: Sysfs
    private let deadlines: SessionDeadlines
    private let clock: any Clock<Duration>
    private let logger: Logger
    private var lane: BlockingLane
    private var isLate = false
    private var failures: [String] = []

    init(
        _ session: LeaseSession, sysfs: Sysfs, deadlines: SessionDeadlines, clock: any Clock<Duration>, logger: Logger
    ) {
        (self.session, self.sysfs, self.deadlines) = (session, sysfs, deadlines)
        (self.clock, self.logger) = (clock, logger)
        lane = session.lane
    }

    /// Takes all steps. Returns what went wrong, none if the device is free and well.
    mutating func run(disabling: @escaping @Sendable () -> Void) async -> [String] {
        let (session, sysfs, address) = (session, sysfs, session.address)
        await take(.busMasterOff) { (core) throws(KernelError) in
            try core.device.setBusMaster(false)
            return nil
        }
        await take(.disableInterrupts) { (core) throws(KernelError) in
            disabling()
            core.groups.destroy()
            // The owner may have turned them on through a descriptor of its own.
            for index in [VFIOIRQIndex.intx, .msi, .msix] { try core.device.turnOff(index) }
            return nil
        }
        await take(.disableINTx) { (core) throws(KernelError) in
            try core.device.disableINTx()
            return nil
        }
        await unmap()
        await take(.reset) { (core) throws(KernelError) in
            guard try core.device.info().canReset else { return "the device has no reset" }
            try core.device.reset()
            return nil
        }
        await perform(.verify, on: lane) { () throws(Failure) in
            let config = sysfs.configSpace(of: address)
            let found = DeviceSignature(config)
            guard found.answers else { throw Failure(text: "the device does not answer") }
            guard found == session.signature else { throw Failure(text: "another device answers in its place") }
            guard config.command?.isBusMaster != true else { throw Failure(text: "it is still a bus master") }
            return nil
        }
        let wasLate = isLate
        await perform(.release, on: lane) { () throws(Failure) in
            let core = session.takeOpened()
            core?.watch.end()
            session.memory.leave(address)
            if wasLate { throw Failure(text: "an earlier step has not ended and keeps the device open") }
            return nil
        }
        return failures
    }

    private mutating func unmap() async {
        let (memory, address) = (session.memory, session.address)
        guard let lane = memory.lane else { return }
        await perform(.unmap, on: lane) { () throws(Failure) in
            do throws(KernelError) {
                return "\(try memory.unmapAll(of: address)) ranges"
            } catch {
                throw Failure(text: "\(error)", errno: error.errno.name)
            }
        }
    }

    private mutating func take(
        _ step: SessionEndStep, _ body: @escaping @Sendable (LeaseSession.Core) throws(KernelError) -> String?
    ) async {
        let session = session
        await perform(step, on: lane) { () throws(Failure) in
            guard let core = session.opened else { throw Failure(text: "the device is not open") }
            do throws(KernelError) {
                return try body(core)
            } catch {
                throw Failure(text: "\(error)", errno: error.errno.name)
            }
        }
    }

    private mutating func perform(
        _ step: SessionEndStep, on lane: BlockingLane, _ body: @escaping @Sendable () throws(Failure) -> String?
    ) async {
        let end = Eventual<Result<String?, Failure>>()
        lane.start {
            do throws(Failure) { end.resolve(.success(try body())) } catch { end.resolve(.failure(error)) }
        }
        let limit = step == .reset ? deadlines.reset : deadlines.step
        switch await end.value(within: limit, on: clock) {
        case .success(let note): log(step, .notice, note ?? "done")
        case .failure(let failure): fail(step, failure)
        case nil:
            fail(step, Failure(text: "it has not ended within \(limit)"))
            isLate = true
            // Without another thread, the steps after it wait behind this one, each for as long as it may.
            if step != .unmap, let other = try? BlockingLane(name: session.address.description) { self.lane = other }
        }
    }

    private mutating func fail(_ step: SessionEndStep, _ failure: Failure) {
        failures.append("\(step.rawValue): \(failure.text)")
        log(step, .error, failure.text, errno: failure.errno)
    }

    private func log(_ step: SessionEndStep, _ level: Logger.Level, _ text: String, errno: String? = nil) {
        var metadata: Logger.Metadata = [
            "event": "session-step", "device": "\(session.address)", "step": "\(step.rawValue)",
            "result": level == .error ? "failed" : "done",
        ]
        if let errno { metadata["errno"] = "\(errno)" }
        logger.log(
            level: level, "end of the session of \(session.address): \(step.rawValue): \(text)", metadata: metadata)
    }
}

extension VFIODevice {
    /// Turns an interrupt index off, if it is on (VFIO_DEVICE_SET_IRQS gives EINVAL if not).
    fileprivate func turnOff(_ index: VFIOIRQIndex) throws(KernelError) {
        do throws(KernelError) {
            try disableTriggers(index)
        } catch {
            if error.errno != .invalidArgument { throw error }
        }
    }
}
