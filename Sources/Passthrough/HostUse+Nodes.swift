internal import LinuxSystem
internal import PCI

// What of a function is shown, and which of its device nodes somebody has open.
extension HostUse {
    /// Names of framebuffers that the firmware made, as their owners reserve them (/proc/iomem).
    private static let firmwareFramebuffers = ["BOOTFB", "efifb", "vesafb", "simplefb", "simple-framebuffer"]

    /// Who shows something from a function's memory. VFIO cannot have a BAR that a framebuffer has reserved.
    func framebufferBlockers(of address: PCIAddress) -> [Blocker] {
        var found: [Blocker] = []
        let graphics = "\(root.path)/sys/class/graphics"
        for name in ((try? listDirectory(graphics)) ?? []).sorted() where name.hasPrefix("fb") && name != "fbcon" {
            let directory = "\(graphics)/\(name)"
            guard let path = root.resolve(directory), root.functions(on: path).last == address else { continue }
            let driver = (try? readText(directory + "/name", limit: 4096)) ?? "unknown"
            found.append(framebuffer(address, "\(name) (\(driver))", evidence: "\(directory)/name: \(driver)"))
        }
        let regions = root.sysfs.regions(of: address).filter { $0.space == .memory && $0.size > 0 }
        let map = (try? readText(root.proc("iomem"), limit: 1 << 22)) ?? ""
        for line in map.split(separator: "\n") {
            let parts = line.split(separator: ":", maxSplits: 1)
            guard parts.count == 2 else { continue }
            let name = parts[1].drop { $0 == " " }
            guard HostUse.firmwareFramebuffers.contains(where: { name.hasPrefix($0) }),
                let text = parts[0].split(separator: "-").first, let start = UInt64(trimmedLeft(text), radix: 16),
                regions.contains(where: { start >= $0.address && start - $0.address < $0.size })
            else { continue }
            found.append(framebuffer(address, String(name), evidence: "/proc/iomem: \(trimmedLeft(line))"))
            break
        }
        return found
    }

    private func trimmedLeft(_ text: Substring) -> Substring { text.drop { $0 == " " } }

    private func framebuffer(_ address: PCIAddress, _ name: String, evidence: String) -> Blocker {
        Blocker(
            code: .framebuffer, message: "The host shows its framebuffer \(name) through \(address).",
            evidence: evidence,
            remedy: "Give the host another display or a serial console, and keep the framebuffer away with"
                + " initcall_blacklist=sysfb_init on the kernel's command line.")
    }

    /// The processes that have a device node of a function open, such as `/dev/nvme0` or what is above its disk.
    func nodeBlockers(of address: PCIAddress, _ devices: BlockDevices) -> [Blocker] {
        let names = devices.names(on: address)
        let nodes = Set(
            names.map { node("\(root.path)/sys/class/block/\($0)", name: $0) } + characterNodes(of: address))
        if nodes.isEmpty { return [] }
        let search = HolderSearch(root: root)
        var found: [Blocker] = []
        for process in search.processes {
            let open = search.links(of: process).filter { nodes.contains($0.target) }
            guard let first = open.first else { continue }
            let holder = search.holder(process, open.map(\.descriptor))
            // udev looks at what has come for a moment, and lets go by itself.
            if holder.unit == "systemd-udevd.service" { continue }
            let targets = Set(open.map(\.target)).sorted()
            let named = targets.prefix(5).joined(separator: ", ") + (targets.count > 5 ? " and others" : "")
            found.append(
                Blocker(
                    code: .openByProcess, message: "\(named) of \(address) is open in \(holder).",
                    evidence: "/proc/\(process)/fd/\(first.descriptor): \(first.target)",
                    remedy: "End that process, or what it does with the device."))
        }
        return found
    }

    /// Those of VFIO are looked after elsewhere.
    private func characterNodes(of address: PCIAddress) -> [String] {
        let directory = "\(root.path)/sys/dev/char"
        return ((try? listDirectory(directory)) ?? []).compactMap { number in
            guard let path = root.resolve("\(directory)/\(number)"), root.functions(on: path).last == address,
                !path.contains("/vfio-dev/"), let name = path.split(separator: "/").last
            else { return nil }
            return node(path, name: String(name))
        }
    }

    private func node(_ directory: String, name: String) -> String {
        "/dev/" + (ueventValue("DEVNAME", in: directory) ?? name)
    }
}
