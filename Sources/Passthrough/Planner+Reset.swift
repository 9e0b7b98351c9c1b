internal import PCI

// What a reset does, and to whom. All of it is read from sysfs, because a plan changes nothing, and to open a device, so as
// to ask VFIO, resets it.
extension Planner {
    /// The ways to reset a function, in the order in which the kernel tries them.
    func resetMethods(of address: PCIAddress) -> [ResetMethod] {
        let listed = root.sysfs.resetMethods(of: address)
        guard let others = sharingBus(with: address) else {
            return listed.map { ResetMethod(name: $0, others: [], isOfFunction: true) }
        }
        // The kernel lists the bus for who was its first function, and refuses once there are more.
        let ofFunction = listed.filter { others.isEmpty || !ResetMethod.ofBus.contains($0) }
        let methods = ofFunction.map { ResetMethod(name: $0, others: [], isOfFunction: true) }
        if ofFunction.contains("bus") { return methods }
        return methods + [ResetMethod(name: "bus", others: others, isOfFunction: false)]
    }

    /// The method of this name, or the first that there is; nil if there is none.
    func resetMethod(_ name: String?, of address: PCIAddress) throws(PassthroughError) -> ResetMethod? {
        let methods = resetMethods(of: address)
        guard let name else { return methods.first }
        if let method = methods.first(where: { $0.name == name }) { return method }
        throw .noSuchResetMethod(address, method: name, available: methods.map(\.name))
    }

    /// `bound`: what vfiod has bound.
    func resetPlan(_ address: PCIAddress, _ method: ResetMethod?, bound: Set<PCIAddress>) -> Plan {
        let others = method?.others ?? []
        var plan = Plan(steps: method.map { resetSteps(address, $0) } ?? [], blockers: [])
        for member in [address] + others {
            plan.steps.append(
                Plan.Step(action: "verify", target: root.sysfs.path(of: member, "config"), value: ids(of: member)))
        }
        if method == nil, let blocker = noResetBlocker(address) { plan.blockers.append(blocker) }
        for member in others where !bound.contains(member) || root.sysfs.driver(of: member) != Planner.driver {
            plan.blockers.append(hotResetBlocker(member, with: address))
        }
        plan.blockers += holders(of: [address] + others)
        return plan
    }

    /// Who has any of these open, each process once.
    func holders(of addresses: [PCIAddress]) -> [Blocker] {
        let search = holderSearch
        var found: [Blocker] = []
        for (index, address) in addresses.enumerated() {
            for var blocker in search.holders(of: address).map(\.blocker)
            where !found.contains(where: { $0.evidence == blocker.evidence }) {
                if index > 0 { blocker.member = address }
                found.append(blocker)
            }
        }
        return found
    }

    /// What stands against giving a device from one owner to the next, if nothing resets it.
    func noResetBlocker(_ address: PCIAddress) -> Blocker? {
        guard resetMethods(of: address).isEmpty else { return nil }
        return Blocker(
            code: .noReset,
            message: "Nothing resets \(address): its next owner finds in it what the last one left.",
            evidence: "\(root.sysfs.path(of: address, "reset_method")) names none, and it is behind no bridge",
            remedy: "Give it to one owner only, or restart the host in between.")
    }

    /// Names a function that a reset of the bus must not take along.
    func hotResetBlocker(_ member: PCIAddress, with address: PCIAddress) -> Blocker {
        let driver = root.sysfs.driver(of: member)
        return Blocker(
            code: .hotResetMember,
            message: "A reset of the bus of \(address) resets \(member) too, which vfiod has not bound.",
            evidence: root.sysfs.path(of: member, "driver") + ": \(driver ?? "none")",
            remedy: "Bind \(member) too, or choose another method.", member: member)
    }

    private func resetSteps(_ address: PCIAddress, _ method: ResetMethod) -> [Plan.Step] {
        guard method.isOfFunction else {
            return ([address] + method.others).map { member in
                Plan.Step(action: "hot-reset", target: root.sysfs.path(of: member), value: nil)
            }
        }
        let attribute = root.sysfs.path(of: address, "reset_method")
        let listed = root.sysfs.resetMethods(of: address)
        let reset = Plan.Step(action: "write", target: root.sysfs.path(of: address, "reset"), value: "1")
        if listed == [method.name] { return [reset] }
        return [
            Plan.Step(action: "write", target: attribute, value: method.name), reset,
            Plan.Step(action: "write", target: attribute, value: listed.joined(separator: " ")),
        ]
    }

    private func ids(of address: PCIAddress) -> String? {
        root.sysfs.function(address).map { hex(UInt32($0.vendorID), 4) + ":" + hex(UInt32($0.deviceID), 4) }
    }

    /// What else is behind the same bridge, at any depth, ascending; nil on a root bus.
    private func sharingBus(with address: PCIAddress) -> [PCIAddress]? {
        let sysfs = root.sysfs
        guard let bridge = sysfs.route(to: address).dropLast().last else { return nil }
        return sysfs.addresses().filter { other in
            other != address && other != bridge && sysfs.route(to: other).contains(bridge)
        }
    }
}

extension DeviceRecord {
    /// What keeps a quarantined device from being used.
    func quarantineBlocker(_ address: PCIAddress) -> Blocker? {
        guard let quarantine else { return nil }
        return Blocker(
            code: .quarantined, message: "\(address) is quarantined.", evidence: quarantine,
            remedy: "Reset it (vfioctl reset \(address)), look at it, and release it (vfioctl release \(address)); or"
                + " restore it.")
    }
}
