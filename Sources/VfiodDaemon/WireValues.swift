internal import InterruptSources
internal import PCI
internal import Passthrough
internal import VfiodAPI

// The domain's values as they go over the wire.

extension Wire.Device {
    init(_ device: DeviceSummary) {
        self.init(
            address: device.address.description, name: device.name, configuredName: device.configuredName,
            className: device.className,
            vendorId: hex(UInt32(device.vendorID), 4), deviceId: hex(UInt32(device.deviceID), 4),
            classCode: hex(device.classCode, 6), driver: device.driver, iommuGroup: device.iommuGroup,
            intx: device.interrupts.legacy, msi: device.interrupts.msi, msix: device.interrupts.msix,
            state: device.state.rawValue)
    }
}

extension Wire.Plan {
    init(_ plan: Plan) {
        self.init(
            steps: plan.steps.map { Wire.Step(action: $0.action, target: $0.target, value: $0.value) },
            blockers: plan.blockers.map(Wire.Blocker.init))
    }
}

extension Wire.Blocker {
    init(_ blocker: Blocker) {
        self.init(
            code: blocker.code.rawValue, message: blocker.message, evidence: blocker.evidence, remedy: blocker.remedy,
            consent: blocker.code.allowsConsent, consentAs: blocker.consent?.description,
            member: blocker.member?.description)
    }
}

extension Wire.SelfTestReport {
    init(_ report: SelfTestReport) {
        self.init(
            type: report.type.rawValue, raisedBy: report.raiser.rawValue, vectors: report.vectors,
            tested: report.tested, fired: report.fired, delivered: report.delivered, lost: report.lost,
            spurious: report.spurious, lostVectors: report.lostVectors, spuriousVectors: report.spuriousVectors,
            latencyP50: report.latencyP50, latencyP99: report.latencyP99, latencyMax: report.latencyMaximum,
            notes: report.notes)
    }
}

extension Wire.InterruptGroup {
    init(_ group: InterruptGroupState) {
        self.init(
            type: group.type.rawValue, count: group.count, state: group.state,
            vectors: group.vectors.map {
                Wire.InterruptVector(
                    index: $0.index, wired: $0.wired, masked: $0.masked, pending: $0.pending,
                    hostInterrupt: $0.hostInterrupt, hostCount: $0.hostCount)
            })
    }
}
