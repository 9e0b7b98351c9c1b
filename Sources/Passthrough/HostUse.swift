internal import LinuxSystem
internal import PCI

/// What the host itself uses a function for, decided from what is mounted, swapped to, addressed and shown, never from
/// what kind of device it is.
struct HostUse {
    let root: HostRoot
    let interfaceAddresses: [InterfaceAddress]

    /// What stands against taking the function away. Throws if the host's mounts cannot be read: then nothing is known.
    func blockers(of address: PCIAddress) throws(KernelError) -> [Blocker] {
        let devices = BlockDevices(root: root, mounts: try mounts())
        let network = networkBlockers(of: address) + networkStackBlockers(of: address)
        return storageBlockers(of: address, devices) + stackBlockers(of: address, devices) + network
            + consoleBlockers(of: address) + framebufferBlockers(of: address) + nodeBlockers(of: address, devices)
    }

    private func storageBlockers(of address: PCIAddress, _ devices: BlockDevices) -> [Blocker] {
        let ours = devices.mounts.filter { devices.functions(below: $0).contains(address) }
        var found: [Blocker] = []
        if let mount = ours.first(where: { $0.mountPoint == "/" }) {
            found.append(
                Blocker(
                    code: .rootDisk, message: "\(address) carries the root file system of this host.",
                    evidence: "/proc/self/mountinfo: \(mount.line)",
                    remedy: "None: the host cannot run without it. Choose another device."))
        }
        let others = ours.filter { $0.mountPoint != "/" }
        if let mount = others.first {
            let points = Set(others.map(\.mountPoint)).sorted()
            let named = points.prefix(5).joined(separator: ", ") + (points.count > 5 ? " and others" : "")
            found.append(
                Blocker(
                    code: .mountedFileSystem,
                    message: "A file system on \(address) is mounted at \(named).",
                    evidence: "/proc/self/mountinfo: \(mount.line)", remedy: "Unmount it: umount \(mount.mountPoint)"))
        }
        let swaps = ((try? readText(root.proc("swaps"))) ?? "").split(separator: "\n").dropFirst()
        for line in swaps {
            guard let field = line.split(whereSeparator: \.isWhitespace).first else { continue }
            let path = HostRoot.unescape(field)
            guard devices.functions(belowPath: path).contains(address) else { continue }
            found.append(
                Blocker(
                    code: .swap, message: "The host swaps to \(path) on \(address).",
                    evidence: "/proc/swaps: \(line)", remedy: "Stop swapping to it: swapoff \(path)"))
        }
        return found
    }

    /// The first process' mounts too, because ours may be hidden by a sandbox.
    private func mounts() throws(KernelError) -> [Mount] {
        let own = try readText(root.proc("self/mountinfo"), limit: 1 << 24)
        let first = (try? readText(root.proc("1/mountinfo"), limit: 1 << 24)) ?? ""
        return (own + "\n" + first).split(separator: "\n").compactMap(Mount.init)
    }

    private func networkBlockers(of address: PCIAddress) -> [Blocker] {
        var found: [Blocker] = []
        for interface in interfaces(of: address) {
            let users = usersAbove(interface)
            for held in interfaceAddresses where users.contains(held.interface) {
                let name = held.interface == interface ? interface : "\(held.interface) over \(interface)"
                found.append(
                    Blocker(
                        code: .networkAddress,
                        message: "Network interface \(name) of \(address) has address \(held.address).",
                        evidence: "address \(held.address) on \(held.interface)",
                        remedy: "Remove it: ip addr flush dev \(held.interface)"))
            }
            for (name, line) in defaultRoutes() where users.contains(name) {
                found.append(
                    Blocker(
                        code: .defaultRoute,
                        message: "The default route goes through network interface \(name) of \(address).",
                        evidence: line, remedy: "Give the host another default route: ip route replace default"))
            }
        }
        return found
    }

    /// The network interfaces of a function, also where there is a bus in between, as with virtio.
    func interfaces(of address: PCIAddress) -> [String] {
        ((try? listDirectory("\(root.path)/sys/class/net")) ?? []).filter { name in
            root.resolve("\(root.path)/sys/class/net/\(name)").map { root.functions(on: $0).last == address } ?? false
        }
    }

    /// An interface, and the bonds, bridges and VLANs over it.
    private func usersAbove(_ interface: String) -> Set<String> {
        var users: Set<String> = []
        var open = [interface]
        while let name = open.popLast() {
            guard users.insert(name).inserted else { continue }
            let entries = (try? listDirectory("\(root.path)/sys/class/net/\(name)")) ?? []
            open += entries.filter { $0.hasPrefix("upper_") }.map { String($0.dropFirst("upper_".count)) }
        }
        return users
    }

    /// The interfaces of the default routes, each with the line that says so.
    private func defaultRoutes() -> [(interface: String, line: String)] {
        var found: [(interface: String, line: String)] = []
        for line in ((try? readText(root.proc("net/route"))) ?? "").split(separator: "\n").dropFirst() {
            let fields = line.split(whereSeparator: \.isWhitespace)
            guard fields.count > 7, [fields[1], fields[7]].allSatisfy({ UInt32($0, radix: 16) == 0 }) else { continue }
            found.append((String(fields[0]), "/proc/net/route: " + fields.joined(separator: " ")))
        }
        for line in ((try? readText(root.proc("net/ipv6_route"))) ?? "").split(separator: "\n") {
            let fields = line.split(whereSeparator: \.isWhitespace)
            // The kernel keeps an unreachable default route on lo.
            guard fields.count > 9, fields[0].allSatisfy({ $0 == "0" }), fields[1] == "00", fields[9] != "lo" else {
                continue
            }
            found.append((String(fields[9]), "/proc/net/ipv6_route: " + fields.joined(separator: " ")))
        }
        return found
    }

    private func consoleBlockers(of address: PCIAddress) -> [Blocker] {
        guard root.sysfs.text(address, "boot_vga") == "1" else { return [] }
        return [
            Blocker(
                code: .console, message: "\(address) is the display that this host booted with.",
                evidence: root.sysfs.path(of: address, "boot_vga") + ": 1",
                remedy: "Give the host another boot display, or use a serial console.")
        ]
    }
}
