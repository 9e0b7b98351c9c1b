internal import InterruptSources
internal import LinuxSystem
internal import Logging
public import PCI
internal import SelfTestProtocol
internal import VFIO
internal import VFIOInterrupts

extension PassthroughHost {
    /// Raises every asked-for interrupt of a bound device into a self-test guest. Ends early when the host asks for the
    /// device back or the device reports an error.
    public func selfTest(
        _ address: PCIAddress, _ request: SelfTestRequest, progress: @escaping ProgressReport
    ) async throws(PassthroughError) -> [SelfTestReport] {
        let (sysfs, kernel, liveGroups, loop, logger) = (sysfs, kernel, liveGroups, loop, logger)
        let guests = SelfTestGuestExecutable(path: configuration.selfTestGuest)
        let (limits, token) = (configuration.selfTestLimits, token(for: address))
        return try await withExclusive(address, operation: "selftest", progress: progress) {
            (operation) throws(PassthroughError) in
            guard let function = sysfs.function(address) else { throw .deviceNotFound(address.description) }
            guard let group = sysfs.iommuGroup(of: address) else {
                throw .selfTestUnavailable(
                    address, message: "\(address) is in no IOMMU group", hint: "switch the host's IOMMU on")
            }
            operation.begin("open", "opening \(address) through IOMMU group \(group)")
            do throws(SelfTestFailure) {
                let device = try SelfTestFailure.open(address, iommuGroup: group, token, kernel)
                let interrupts = VFIOInterrupts(device)
                let watch = try SelfTestFailure.watch(interrupts, on: loop) { event in
                    logger.log(event, of: address, during: operation.name)
                    operation.note(event.sentence)
                }
                defer { watch.end() }
                let groups = try SelfTestFailure.groups(interrupts)
                liveGroups.add(address, groups)
                defer { liveGroups.remove(address) }
                operation.begin("raise", "raising interrupts of \(address)")
                let test = SelfTest(
                    device: device, interrupts: groups,
                    testDevice: testDevice(vendorID: function.vendorID, deviceID: function.deviceID),
                    guests: guests, limits: limits, progress: { operation.report($0) },
                    told: { watch.first })
                return try test.run(request)
            } catch {
                throw error.passthroughError(address)
            }
        }
    }
}

extension VFIODeviceEvent {
    /// Says it to a person who looks at the device.
    fileprivate var sentence: String {
        switch self {
        case .request: "the host asks for the device back: somebody unbinds its driver or removes it"
        case .error: "the device reported an uncorrectable error"
        }
    }
}

extension Logger {
    /// Writes down what a device told of.
    func log(_ event: VFIODeviceEvent, of address: PCIAddress, during operation: String) {
        let name =
            switch event {
            case .request: "device-asked-back"
            case .error: "device-error"
            }
        warning(
            "\(address): \(event.sentence)",
            metadata: ["event": "\(name)", "device": "\(address)", "operation": "\(operation)"])
    }
}

extension SelfTestFailure {
    fileprivate static func open(
        _ address: PCIAddress, iommuGroup: Int, _ token: VFIOToken?, _ kernel: any Kernel
    ) throws(SelfTestFailure) -> VFIODevice {
        do throws(KernelError) {
            return try VFIODevice.open(address, iommuGroup: iommuGroup, token: token, kernel: kernel)
        } catch {
            throw SelfTestFailure("open the device", error, hint: error.vfioOpenHint)
        }
    }

    fileprivate static func watch(
        _ interrupts: VFIOInterrupts, on loop: EventLoop, handler: @escaping @Sendable (VFIODeviceEvent) -> Void
    ) throws(SelfTestFailure) -> DeviceWatch {
        do throws(InterruptError) {
            return try DeviceWatch(interrupts, on: loop, handler: handler)
        } catch {
            throw SelfTestFailure("watch the device", error)
        }
    }

    fileprivate static func groups(_ interrupts: VFIOInterrupts) throws(SelfTestFailure) -> DeviceInterrupts {
        do {
            return try DeviceInterrupts(interrupts.sources(), sink: nil)
        } catch {
            throw SelfTestFailure("look up the device's interrupts", error)
        }
    }

    /// The same as an error of the domain.
    func passthroughError(_ address: PCIAddress) -> PassthroughError {
        switch cause {
        case .told(.request): .askedBack(address, operation: "selftest")
        case .told(.error): .deviceFailed(address, operation: "selftest")
        case .kernel(let error): .kernel(address, step: step, error, hint: hint)
        case .unavailable(let message): .selfTestUnavailable(address, message: message, hint: hint)
        case .interrupts(let error): .selfTestUnavailable(address, message: "\(step): \(error)", hint: hint)
        case .guest(.closed): .selfTestUnavailable(address, message: "\(step): the self-test guest died", hint: hint)
        case .guest(.timedOut):
            .selfTestUnavailable(address, message: "\(step): the self-test guest does not answer", hint: hint)
        case .guest(let error): .selfTestUnavailable(address, message: "\(step): \(error)", hint: hint)
        }
    }
}
