internal import LinuxSystem
internal import PCI

// SR-IOV: what makes virtual functions, and what keeps them from going.
extension Planner {
    private static let parameter = "/sys/module/vfio_pci/parameters/enable_sriov"

    /// What makes `count` virtual functions. `taken`: those of its functions that vfiod has bound or works on. `isBound`:
    /// whether vfiod has bound the device itself.
    func virtualFunctionsPlan(
        _ address: PCIAddress, count: Int, taken: Set<PCIAddress>, isBound: Bool
    ) throws(PassthroughError) -> Plan {
        guard let total = sysfs.totalVirtualFunctions(of: address) else {
            return Plan(steps: [], blockers: [noSRIOV(address)])
        }
        let now = sysfs.virtualFunctions(of: address).count
        if now == count { return Plan(steps: [], blockers: []) }
        var blockers: [Blocker] = []
        if count > total {
            blockers.append(
                Blocker(
                    code: .tooManyVirtualFunctions,
                    message: "\(address) can have \(total) virtual functions, and not \(count).",
                    evidence: sysfs.path(of: address, "sriov_totalvfs") + ": \(total)", remedy: "Ask for fewer."))
        }
        let driver = sysfs.driver(of: address)
        if driver == nil, !isBound {
            blockers.append(
                Blocker(
                    code: .noDriver, message: "\(address) has no driver, which is what makes virtual functions.",
                    evidence: sysfs.path(of: address, "driver") + " does not exist",
                    remedy: "Load its driver, or bind the device to it."))
        }
        if !isBound, let driver, HostDrivers.isVFIO(driver) { blockers.append(foreignBlocker(address, driver)) }
        if isBound, count > 0, let blocker = vfioBlocker(address) { blockers.append(blocker) }
        blockers += try virtualFunctionBlockers(of: address, taken: taken)
        return Plan(steps: virtualFunctionSteps(address, from: now, to: count, probing: "0"), blockers: blockers)
    }

    /// What gives the device back the virtual functions that it had, and what stands against that.
    func restoreVirtualFunctionsPlan(
        _ address: PCIAddress, _ record: DeviceRecord, taken: Set<PCIAddress>
    ) throws(PassthroughError) -> Plan {
        let (now, before) = (sysfs.virtualFunctions(of: address).count, record.before.virtualFunctions ?? 0)
        let probing = record.before.virtualFunctionProbing.map(trimmed)
        return Plan(
            steps: virtualFunctionSteps(address, from: now, to: before, probing: probing, probingFirst: false),
            blockers: now == before ? [] : try virtualFunctionBlockers(of: address, taken: taken))
    }

    private func virtualFunctionSteps(
        _ address: PCIAddress, from now: Int, to count: Int, probing: String?, probingFirst: Bool = true
    ) -> [Plan.Step] {
        let numbers = sysfs.path(of: address, "sriov_numvfs")
        let autoprobe = sysfs.path(of: address, "sriov_drivers_autoprobe")
        let isChanged = probing != nil && sysfs.text(address, "sriov_drivers_autoprobe") != probing
        let probe = isChanged ? [Plan.Step(action: "write", target: autoprobe, value: probing)] : []
        let remove = now == 0 || now == count ? [] : [Plan.Step(action: "write", target: numbers, value: "0")]
        let make = count == 0 || now == count ? [] : [Plan.Step(action: "write", target: numbers, value: "\(count)")]
        let steps = (probingFirst ? probe + remove : remove + probe) + make
        return steps + [Plan.Step(action: "verify", target: numbers, value: "\(count)")]
    }

    /// What keeps the virtual functions of a device from going.
    func virtualFunctionBlockers(
        of address: PCIAddress, taken: Set<PCIAddress>
    ) throws(PassthroughError) -> [Blocker] {
        var found: [Blocker] = []
        for function in sysfs.virtualFunctions(of: address) {
            if taken.contains(function) {
                found.append(
                    Blocker(
                        code: .virtualFunctionBound,
                        message: "\(function) is a virtual function of \(address), and bound by vfiod.",
                        evidence: sysfs.path(of: function, "driver") + ": \(sysfs.driver(of: function) ?? "none")",
                        remedy: "Restore \(function) first.", member: function))
                continue
            }
            let driver = sysfs.driver(of: function)
            let holders = holderSearch.holders(of: function, onlySure: true).map(\.blocker)
            found += (deviceBlockers(function, driver: driver) + holders + (try hostUses(function))).map { blocker in
                var blocker = blocker
                blocker.member = function
                return blocker
            }
        }
        return found
    }

    /// vfio-pci makes virtual functions only where the administrator says that a guest may have their device.
    private func vfioBlocker(_ address: PCIAddress) -> Blocker? {
        let content = try? readText(root.path + Planner.parameter, limit: 16)
        if content == "Y" { return nil }
        return Blocker(
            code: .vfioSRIOVOff,
            message: "\(address) is bound to vfio-pci, which makes no virtual functions unless it is told to.",
            evidence: "\(root.path)\(Planner.parameter): \(content ?? "unreadable")",
            remedy: "If whoever gets \(address) may control its virtual functions: write Y to \(Planner.parameter), and"
                + " \"options vfio_pci enable_sriov=1\" to a file in /etc/modprobe.d for the next boot.")
    }

    private func noSRIOV(_ address: PCIAddress) -> Blocker {
        Blocker(
            code: .noSRIOV, message: "\(address) is no physical function of SR-IOV.",
            evidence: sysfs.path(of: address, "sriov_totalvfs") + " does not exist",
            remedy: "vfioctl show says which functions can have virtual ones.")
    }
}
