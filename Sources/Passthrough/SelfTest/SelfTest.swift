import InterruptSources
import LinuxSystem
import SelfTestProtocol
import VFIO
import VFIOInterrupts

/// The self-test of one device that is open and in nobody's use: every interrupt is raised into a guest, which counts.
///
/// Blocks for as long as it takes: to be run on the device's lane.
struct SelfTest {
    let device: VFIODevice
    let interrupts: DeviceInterrupts
    let testDevice: (any TestDevice)?
    let guests: any SelfTestGuestLauncher
    let limits: SelfTestLimits
    let progress: ProgressReport
    /// What the device told of since the test began, which ends it.
    let told: () -> VFIODeviceEvent?

    /// Runs the trials that `request` asks for, by VFIO's loopback and, where the device is a known test device, by its
    /// own registers.
    func run(_ request: SelfTestRequest) throws(SelfTestFailure) -> [SelfTestReport] {
        do {
            return try trials(request)
        } catch {
            // What failed then, failed because of it.
            throw told().map(SelfTestFailure.init(told:)) ?? error
        }
    }

    private func trials(_ request: SelfTestRequest) throws(SelfTestFailure) -> [SelfTestReport] {
        var reports: [SelfTestReport] = []
        for type in request.types where interrupts.types.contains(type) {
            reports.append(try trial(type, .loopback, request))
            if let testDevice, testDevice.vectors(of: type) > 0 {
                let registers = try SelfTestFailure.wrap("look up the device's registers") {
                    () throws(KernelError) in try VFIORegisters(device)
                }
                reports.append(try trial(type, .device(testDevice, registers), request))
            }
        }
        guard !reports.isEmpty else {
            let asked = request.types.map(\.rawValue).joined(separator: ", ")
            throw SelfTestFailure(
                unavailable: "the device has no interrupts of type \(asked)",
                hint: "vfioctl list shows what it has")
        }
        return reports
    }

    private func trial(
        _ type: InterruptType, _ raiser: TrialRaiser, _ request: SelfTestRequest
    ) throws(SelfTestFailure) -> SelfTestReport {
        let group: InterruptSourceGroup
        do {
            group = try interrupts.makeGroup(type)
        } catch {
            throw SelfTestFailure("make the interrupt source group", error)
        }
        // The next guest is to get eventfds that this one never had.
        defer { interrupts.destroyGroup(type) }
        var reachable = group.count
        if case .device(let device, _) = raiser { reachable = min(reachable, device.vectors(of: type)) }
        var report = SelfTestReport(
            type: type, raiser: raiser.name, vectors: group.count,
            tested: min(request.vectors ?? reachable, reachable))
        if let asked = request.vectors, asked > reachable, raiser.name == .loopback {
            report.notes.append("asked for \(asked) vectors, the device has \(reachable)")
        }
        try enable(group, &report)
        if [.swapRoutes, .shareVector].contains(request.fault), report.tested < 2 {
            report.notes.append("the fault \(request.fault?.rawValue ?? "") needs two vectors: none was injected")
        }
        let window = min(report.tested, limits.window)
        let guest: any SelfTestGuestPort
        do {
            guest = try guests.launch(
                type == .legacy ? .level : .edge, slots: window, fault: fault(request.fault, slots: window))
        } catch {
            throw SelfTestFailure("start the self-test guest", error)
        }
        defer { guest.end() }
        if case .device(let device, let registers) = raiser {
            try SelfTestFailure.wrap("prepare the device") { () throws(KernelError) in
                try device.prepare(type, registers)
            }
        }
        defer {
            // The device is closed next, which takes its interrupts away in any case.
            if case .device(let device, let registers) = raiser { try? device.quiesce(registers) }
        }
        var trial = InterruptTrial(
            group: group, raiser: raiser, guest: guest, report: report, raises: request.count, limits: limits,
            progress: progress, told: told)
        try walk(&trial, window)
        return trial.finish()
    }

    /// Makes the group's type the working one: MSI-X with every vector masked, the others as a whole.
    private func enable(_ group: InterruptSourceGroup, _ report: inout SelfTestReport) throws(SelfTestFailure) {
        let configuration = InterruptConfiguration(startsMasked: group.type == .msix)
        var vectors = group.count
        while true {
            do throws(InterruptError) {
                return try interrupts.switchTo(
                    group.type, [InterruptConfiguration](repeating: configuration, count: vectors))
            } catch {
                guard group.type == .msi, case .hostExhausted(_, let available) = error, available >= 1,
                    available < vectors
                else {
                    throw SelfTestFailure("enable \(group.type.rawValue)", error, hint: SelfTest.hostHint)
                }
                // The largest power of two that the host provides for.
                vectors = 1 << (available.bitWidth - 1 - available.leadingZeroBitCount)
                report.notes.append(
                    "the host provides for \(available) of \(group.count) MSI vectors: without interrupt remapping a"
                        + " device gets one")
                report.tested = min(report.tested, vectors)
            }
        }
    }

    /// Tests all vectors, in windows where they are more than may be, or can be, wired at a time.
    private func walk(_ trial: inout InterruptTrial, _ window: Int) throws(SelfTestFailure) {
        let (group, guest) = (trial.group, trial.guest)
        var size = window
        var windows = 0
        var first = 0
        while first < trial.report.tested, !trial.isGivenUp {
            var range = first..<min(first + size, trial.report.tested)
            if group.type == .msix {
                range = try unmask(range, of: group)
                if range.count < min(size, trial.report.tested - first) {
                    size = range.count
                    trial.note("the host has room for \(size) more vectors at a time")
                }
            }
            if trial.report.tested > range.count {
                progress(
                    "\(group.type.rawValue) by \(trial.raiser.name.rawValue): vectors \(range.lowerBound)"
                        + "-\(range.upperBound - 1) of \(trial.report.tested)")
            }
            do {
                try connect(range, of: group, to: guest)
                try trial.test(range)
                try guest.disconnect(count: range.count)
                if group.type == .msix { try group.mask(range, releasing: true) }
            } catch let error as SelfTestFailure {
                throw error
            } catch let error as GuestProtocolError {
                throw SelfTestFailure("join the self-test guest", error)
            } catch let error as InterruptError {
                throw SelfTestFailure("wire vectors \(range.lowerBound)-\(range.upperBound - 1)", error)
            } catch {
                throw SelfTestFailure(unavailable: "\(error)", hint: "")
            }
            windows += 1
            first = range.upperBound
        }
        if windows > 1 { trial.note("walked in \(windows) windows of up to \(size) vectors") }
    }

    private func unmask(_ range: Range<Int>, of group: InterruptSourceGroup) throws(SelfTestFailure) -> Range<Int> {
        var range = range
        while true {
            do throws(InterruptError) {
                try group.unmask(range)
                return range
            } catch {
                guard case .hostExhausted(_, let available) = error, available >= 1, available < range.count else {
                    throw SelfTestFailure(
                        "wire vectors \(range.lowerBound)-\(range.upperBound - 1)", error, hint: SelfTest.hostHint)
                }
                range = range.lowerBound..<range.lowerBound + available
            }
        }
    }

    private func connect(
        _ range: Range<Int>, of group: InterruptSourceGroup, to guest: any SelfTestGuestPort
    ) throws {
        var notifiers: [EventFD] = []
        for vector in range {
            if let notifier = try group.notifier(vector) { notifiers.append(notifier) }
        }
        if group.type == .legacy {
            guard let trigger = notifiers.first, let resample = try group.resampleNotifier() else { return }
            try guest.connectLevel(trigger: trigger, resample: resample)
        } else {
            try guest.connect(notifiers)
        }
    }

    private func fault(_ fault: SelfTestRequest.Fault?, slots: Int) -> GuestFault? {
        switch fault {
        case .swapRoutes: slots > 1 ? .swapRoutes : nil
        case .shareVector: slots > 1 ? .shareVector : nil
        case .dropIRQFD: .dropIRQFD
        case .stopVCPU: .stopVCPU
        case nil: nil
        }
    }

    private static let hostHint =
        "the host is out of interrupt vectors: other devices hold them; /proc/interrupts shows which"
}
