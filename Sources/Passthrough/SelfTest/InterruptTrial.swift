import InterruptSources
import LinuxSystem
import SelfTestProtocol
import VFIOInterrupts

/// How the interrupts of a trial are raised.
enum TrialRaiser {
    /// By VFIO's loopback.
    case loopback
    /// By the device itself.
    case device(any TestDevice, any DeviceRegisters)

    var name: SelfTestReport.Raiser {
        switch self {
        case .loopback: .loopback
        case .device: .device
        }
    }
}

/// The bounds of a self-test.
public struct SelfTestLimits: Hashable, Sendable {
    /// The most vectors wired at a time, 1 to ``maximumWindow``.
    public var window: Int
    /// How long a raise may take to arrive, milliseconds, 1 to 60,000.
    public var deliveryMilliseconds: Int

    /// The largest window.
    public static let maximumWindow = 2048

    /// Creates limits.
    public init(window: Int = 256, deliveryMilliseconds: Int = 2000) {
        self.window = window
        self.deliveryMilliseconds = deliveryMilliseconds
    }
}

/// One interrupt type of one device, raised one way, vector by vector and in lock-step: raise, see it, raise again.
struct InterruptTrial {
    // A vector that lost this many is given up, and so is the trial once as many raises in a row as this were lost:
    // each costs the whole delivery deadline, and the verdict is clear.
    private static let lostBeforeGivingUpVector = 2
    private static let lostBeforeGivingUp = 8
    // How long a window is watched after its last raise for interrupts that nobody raised, and a vector for those that
    // its device repeated.
    private static let settleNanoseconds: UInt64 = 20_000_000

    let group: InterruptSourceGroup
    let raiser: TrialRaiser
    let guest: any SelfTestGuestPort
    let raises: Int
    let limits: SelfTestLimits
    let progress: ProgressReport
    let told: () -> VFIODeviceEvent?

    private(set) var report: SelfTestReport
    private var latencies = LatencyHistogram()
    private var lostInARow = 0
    private var lostPerVector: [Int: Int] = [:]
    private var strays = 0
    private var repeated = 0
    private var lastProgress = monotonicNanoseconds()

    init(
        group: InterruptSourceGroup, raiser: TrialRaiser, guest: any SelfTestGuestPort, report: SelfTestReport,
        raises: Int, limits: SelfTestLimits, progress: @escaping ProgressReport,
        told: @escaping () -> VFIODeviceEvent?
    ) {
        self.group = group
        self.raiser = raiser
        self.guest = guest
        self.report = report
        self.raises = raises
        self.limits = limits
        self.progress = progress
        self.told = told
    }

    /// Whether so much was lost that going on would only take time.
    var isGivenUp: Bool { lostInARow >= InterruptTrial.lostBeforeGivingUp }

    /// Tests the vectors of one window, which the group has unmasked and the guest has joined to its slots from 0 on.
    mutating func test(_ window: Range<Int>) throws(SelfTestFailure) {
        var ledger = DeliveryLedger(window: window, counts: guest.count)
        for round in 0..<raises {
            for slot in 0..<window.count where !isGivenUp {
                let vector = window.lowerBound + slot
                if lostPerVector[vector, default: 0] >= InterruptTrial.lostBeforeGivingUpVector { continue }
                try raise(vector, slot, &ledger)
                tell(round, window, ledger)
            }
            if isGivenUp { break }
        }
        settle()
        ledger.audit(guest.count)
        let straysNow = guest.strays()
        if straysNow > strays {
            ledger.addStray(straysNow - strays)
            report.notes.append("\(straysNow - strays) arrived on guest vectors that belong to no vector of the device")
            strays = straysNow
        }
        add(ledger)
    }

    /// Adds what a reader of the report should know.
    mutating func note(_ text: String) {
        report.notes.append(text)
    }

    /// Completes the report.
    mutating func finish() -> SelfTestReport {
        if isGivenUp {
            report.notes.append("stopped after \(lostInARow) raises in a row were lost")
        } else if lostPerVector.values.contains(where: { $0 >= InterruptTrial.lostBeforeGivingUpVector }) {
            report.notes.append("a vector that lost \(InterruptTrial.lostBeforeGivingUpVector) was not raised again")
        }
        if repeated > 0 {
            report.notes.append(
                "\(repeated) messages were the device's own repeats, of raises that took longer than its throttle"
                    + " interval")
        }
        if guest.exceptions() > 0 { report.notes.append("the self-test guest itself failed") }
        report.lostVectors.sort()
        report.spuriousVectors.sort()
        report.latencyP50 = Double(latencies.percentile(0.5)) / 1000
        report.latencyP99 = Double(latencies.percentile(0.99)) / 1000
        report.latencyMaximum = Double(latencies.maximum) / 1000
        return report
    }

    private mutating func raise(_ vector: Int, _ slot: Int, _ ledger: inout DeliveryLedger) throws(SelfTestFailure) {
        try goOn()
        if case .device(let device, let registers) = raiser {
            try SelfTestFailure.wrap("arm vector \(vector)") { () throws(KernelError) in
                try device.arm(vector, registers)
            }
        }
        ledger.raise(slot)
        var messages = 1
        let start = monotonicNanoseconds()
        switch raiser {
        case .loopback:
            do { try group.trigger(vector) } catch { throw SelfTestFailure("trigger vector \(vector)", error) }
        case .device(let device, let registers):
            messages = try SelfTestFailure.wrap("raise vector \(vector)") { () throws(KernelError) in
                try device.raise(vector, registers)
            }
        }
        let deadline = start &+ UInt64(limits.deliveryMilliseconds) &* 1_000_000
        let arrival = wait(until: deadline) { ledger.hasArrived(slot, messages, count: guest.count(slot)) }
        try goOn()
        if let arrival { latencies.record(arrival &- start) }
        if case .device(let device, let registers) = raiser {
            try SelfTestFailure.wrap("acknowledge vector \(vector)") { () throws(KernelError) in
                try device.acknowledge(vector, registers)
            }
        }
        if group.type == .legacy {
            guest.acknowledge(guest.count(slot))
            // The level must be over in the guest before the next raise, or both are one.
            if arrival != nil { _ = wait(until: deadline) { guest.completed() == guest.count(slot) } }
        }
        if messages > 1 { settle() }
        ledger.close(slot, arrived: arrival != nil, messages: messages, counts: guest.count)
        lostInARow = arrival == nil ? lostInARow + 1 : 0
        if arrival == nil { lostPerVector[vector, default: 0] += 1 }
    }

    private func settle() {
        let settled = monotonicNanoseconds() &+ InterruptTrial.settleNanoseconds
        while monotonicNanoseconds() < settled { sleepBriefly() }
    }

    /// Throws what the device told of meanwhile.
    private func goOn() throws(SelfTestFailure) {
        if let event = told() { throw SelfTestFailure(told: event) }
    }

    /// Watches for `isDone` until `deadline`, or until the device tells of something; the time at which it was seen, nil
    /// if it was not. Spins first, because an interrupt takes microseconds and a sleep more.
    private func wait(until deadline: UInt64, _ isDone: () -> Bool) -> UInt64? {
        let patience = monotonicNanoseconds() &+ 2_000_000
        while true {
            for _ in 0..<64 where isDone() { return monotonicNanoseconds() }
            let now = monotonicNanoseconds()
            if now >= deadline || told() != nil { return isDone() ? now : nil }
            if now >= patience { sleepBriefly() }
        }
    }

    private mutating func add(_ ledger: DeliveryLedger) {
        report.fired += ledger.fired
        report.delivered += ledger.delivered
        report.lost += ledger.lost
        report.spurious += ledger.spurious
        repeated += ledger.repeated
        report.lostVectors += ledger.lostVectors
        report.spuriousVectors += ledger.spuriousVectors
    }

    private mutating func tell(_ round: Int, _ window: Range<Int>, _ ledger: DeliveryLedger) {
        let now = monotonicNanoseconds()
        guard now &- lastProgress >= 1_000_000_000 else { return }
        lastProgress = now
        progress(
            "\(report.type.rawValue) by \(raiser.name.rawValue), vectors \(window.lowerBound)-\(window.upperBound - 1):"
                + " round \(round + 1) of \(raises), \(ledger.delivered) of \(ledger.fired) delivered")
    }
}
