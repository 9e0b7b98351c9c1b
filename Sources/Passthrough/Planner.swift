internal import LinuxSystem
internal import PCI

/// Decides what an operation would do and what stands against it. Reads, never writes.
struct Planner: Sendable {
    static let driver = "vfio-pci"

    let root: HostRoot
    let interfaceAddresses: @Sendable () throws(KernelError) -> [InterfaceAddress]
    /// The devices that vfio-pci has made virtual functions of for vfiod.
    let divided = DividedDevices()

    var sysfs: Sysfs { root.sysfs }
    var holderSearch: HolderSearch { HolderSearch(root: root) }

    /// `record`: what vfiod has of it.
    func bindPlan(_ address: PCIAddress, _ record: DeviceRecord?) throws(PassthroughError) -> Plan {
        let driver = sysfs.driver(of: address)
        let quarantine = record?.quarantineBlocker(address).map { [$0] } ?? []
        if driver == Planner.driver, record?.phase.isBound ?? false { return Plan(steps: [], blockers: quarantine) }
        let blockers = quarantine + deviceBlockers(address, driver: driver) + hostBlockers(address)
        let siblings = try siblingsPlan(of: address)
        return Plan(
            steps: bindSteps(address, driver: driver) + siblings.steps,
            blockers: blockers + (try hostUses(address)) + siblings.blockers)
    }

    func bindSteps(_ address: PCIAddress, driver: String?) -> [Plan.Step] {
        let override = sysfs.path(of: address, "driver_override")
        var steps = [Plan.Step(action: "write", target: override, value: Planner.driver)]
        if let driver {
            steps.append(
                Plan.Step(action: "write", target: sysfs.path(ofDriver: driver) + "/unbind", value: "\(address)"))
        }
        steps.append(Plan.Step(action: "write", target: sysfs.probePath, value: "\(address)"))
        steps.append(Plan.Step(action: "verify", target: sysfs.path(of: address, "driver"), value: Planner.driver))
        return steps
    }

    /// What the host itself uses the device for.
    func hostUses(_ address: PCIAddress) throws(PassthroughError) -> [Blocker] {
        do throws(KernelError) {
            return try HostUse(root: root, interfaceAddresses: try interfaceAddresses()).blockers(of: address)
        } catch {
            throw .kernel(
                address, step: "plan", error,
                hint: "Without this, vfiod cannot tell whether the host itself uses the device.")
        }
    }

    /// What gives the device back as `record` says. Who holds it does not keep it from beginning, but from ending.
    /// `users`: the processes of the sessions of other devices.
    func restorePlan(
        _ address: PCIAddress, _ record: DeviceRecord, _ siblings: SiblingRecords? = nil, users: Set<Int> = []
    ) -> Plan {
        let steps = restoreSteps(address, record) + (siblings?.earlier ?? []).flatMap { restoreSteps($0, $1) }
        return Plan(steps: steps, blockers: holderSearch.holders(of: address, users: users).map(\.blocker))
    }

    private func restoreSteps(_ address: PCIAddress, _ record: DeviceRecord) -> [Plan.Step] {
        var steps: [Plan.Step] = []
        let before = record.before
        let driver = sysfs.driver(of: address)
        if record.parts != nil, driver == Planner.driver {
            steps.append(Plan.Step(action: "write", target: sysfs.path(of: address, "sriov_numvfs"), value: "0"))
        }
        if let driver, driver != before.driver {
            steps.append(
                Plan.Step(action: "write", target: sysfs.path(ofDriver: driver) + "/unbind", value: "\(address)"))
        }
        steps.append(
            Plan.Step(
                action: "write", target: sysfs.path(of: address, "driver_override"),
                value: DriverTransition.overrideValue(before.driverOverride)))
        if before.isForDefaultDriver == true || before.driver != nil && before.driver != driver {
            steps.append(Plan.Step(action: "write", target: sysfs.probePath, value: "\(address)"))
        }
        if before.isForDefaultDriver != true {
            steps.append(Plan.Step(action: "verify", target: sysfs.path(of: address, "driver"), value: before.driver))
        }
        return steps
    }

    func isBridge(_ address: PCIAddress) -> Bool {
        let isBridgeClass = sysfs.function(address).map { $0.classCode >> 16 == 0x06 } ?? false
        return isBridgeClass || sysfs.isBridge(address)
    }

    func deviceBlockers(_ address: PCIAddress, driver: String?) -> [Blocker] {
        var found: [Blocker] = []
        if isBridge(address) {
            found.append(
                Blocker(
                    code: .bridge, message: "\(address) is a bridge: other devices or the host itself depend on it.",
                    evidence: sysfs.path(of: address, "class") + ": \(sysfs.text(address, "class") ?? "unknown")",
                    remedy: "Choose a device behind it."))
        }
        if let driver, HostDrivers.isVFIO(driver), !isPart(address) { found.append(foreignBlocker(address, driver)) }
        let functions = sysfs.virtualFunctions(of: address)
        if !functions.isEmpty {
            found.append(
                Blocker(
                    code: .virtualFunctions, message: "\(address) has \(functions.count) virtual functions.",
                    evidence: functions.prefix(8).map(\.description).joined(separator: " "),
                    remedy: "Take virtual functions instead, or remove them: vfioctl virtual-functions \(address) 0."))
        }
        return found
    }

    /// Whether vfio-pci made this function, and took it at once, at vfiod's word: it is nobody else's.
    func isPart(_ address: PCIAddress) -> Bool {
        sysfs.physicalFunction(of: address).map(divided.contains) ?? false
    }

    func foreignBlocker(_ address: PCIAddress, _ driver: String) -> Blocker {
        Blocker(
            code: .foreign, message: "\(address) is bound to \(driver), but not by vfiod.",
            evidence: sysfs.path(of: address, "driver") + ": \(driver)",
            remedy: "Give it back with the tool that bound it, such as driverctl or virsh nodedev-reattach.")
    }

    private func hostBlockers(_ address: PCIAddress) -> [Blocker] {
        var found: [Blocker] = []
        if !sysfs.containsDriver(Planner.driver) {
            found.append(
                Blocker(
                    code: .vfioUnavailable, message: "This host's kernel has no driver vfio-pci loaded.",
                    evidence: "\(sysfs.path(ofDriver: Planner.driver)) does not exist",
                    remedy: "Load it: modprobe vfio-pci. vfiod.service does so at its start, if the kernel has it."))
        }
        guard let group = sysfs.iommuGroup(of: address) else {
            found.append(
                Blocker(
                    code: .noIOMMU, message: "\(address) is in no IOMMU group: this host has no IOMMU, or it is off.",
                    evidence: sysfs.path(of: address, "iommu_group") + " does not exist",
                    remedy: "Switch it on in the firmware (VT-d, AMD-Vi), and in the kernel with intel_iommu=on."))
            return found
        }
        found += holderSearch.holders(of: address, onlySure: true).map(\.blocker)
        return found + iommuBlockers(address, iommuGroup: group)
    }
}

/// A set of devices that changes.
final class DividedDevices: Sendable {
    private let devices = Lock<Set<PCIAddress>>([])

    func contains(_ address: PCIAddress) -> Bool { devices.withLock { $0.contains(address) } }

    /// Makes it those of `records` that vfio-pci has made virtual functions of.
    func set(from records: [PCIAddress: DeviceRecord]) {
        let found = Set(records.filter { $0.value.parts != nil || $0.value.phase == .dividing }.keys)
        devices.withLock { $0 = found }
    }
}

/// What the names of PCI drivers tell.
enum HostDrivers {
    /// Whether it is vfio-pci or one of its variants, which have vfio in their names.
    static func isVFIO(_ name: String) -> Bool { name.contains("vfio") }

    /// Whether the kernel lets a member of an IOMMU group keep this driver while VFIO owns the group
    /// (driver_managed_dma, drivers/iommu/iommu.c).
    static func leavesDMAToOthers(_ name: String) -> Bool {
        isVFIO(name) || name == "pcieport" || name == "pci-stub"
    }
}
