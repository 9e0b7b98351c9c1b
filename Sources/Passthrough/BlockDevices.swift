internal import LinuxSystem
internal import PCI

/// Which PCI functions carry a block device, found by following it down: partitions to their disk, device mapper and MD
/// to their slaves, loop devices to the file system of their file, NVMe multipath to its controllers.
struct BlockDevices {
    let root: HostRoot
    let mounts: [Mount]

    /// The functions below a mounted file system.
    func functions(below mount: Mount) -> Set<PCIAddress> {
        var seen: Set<String> = []
        return functions(below: mount, &seen)
    }

    /// The functions below a device node such as `/dev/vda2` or `/dev/mapper/vg-root`, or below the file system that
    /// holds an ordinary file.
    func functions(belowPath path: String) -> Set<PCIAddress> {
        var seen: Set<String> = []
        return functions(belowPath: path, &seen)
    }

    /// The block devices of the host that a function carries, by the kernel's names, in their order.
    func names(on address: PCIAddress) -> [String] {
        ((try? listDirectory("\(root.path)/sys/class/block")) ?? []).sorted().filter { name in
            var seen: Set<String> = []
            return functions(belowName: name, &seen).contains(address)
        }
    }

    private func functions(below mount: Mount, _ seen: inout Set<String>) -> Set<PCIAddress> {
        var found: Set<PCIAddress> = []
        if let directory = root.resolve("\(root.path)/sys/dev/block/\(mount.number)") {
            found = functions(belowDirectory: directory, &seen)
        } else if mount.source.hasPrefix("/dev/") {
            // File systems over several devices have a number of their own.
            found = functions(belowNode: mount.source, &seen)
        }
        if mount.type == "btrfs" { found.formUnion(btrfsFunctions(mount.source, &seen)) }
        return found
    }

    private func functions(belowPath path: String, _ seen: inout Set<String>) -> Set<PCIAddress> {
        if path.hasPrefix("/dev/") { return functions(belowNode: path, &seen) }
        guard seen.insert(path).inserted, let mount = Mount.holding(path, among: mounts) else { return [] }
        return functions(below: mount, &seen)
    }

    private func functions(belowNode path: String, _ seen: inout Set<String>) -> Set<PCIAddress> {
        guard let name = kernelName(ofNode: path) else { return [] }
        return functions(belowName: name, &seen)
    }

    private func functions(belowName name: String, _ seen: inout Set<String>) -> Set<PCIAddress> {
        guard let directory = root.resolve("\(root.path)/sys/class/block/\(name)") else { return [] }
        return functions(belowDirectory: directory, &seen)
    }

    private func functions(belowDirectory directory: String, _ seen: inout Set<String>) -> Set<PCIAddress> {
        guard seen.insert(directory).inserted else { return [] }
        var found = Set(root.functions(on: directory))
        for slave in (try? listDirectory(directory + "/slaves")) ?? [] {
            found.formUnion(functions(belowName: slave, &seen))
        }
        if pathExists(directory + "/partition"), let parent = HostRoot.parent(of: directory) {
            found.formUnion(functions(belowDirectory: parent, &seen))
        }
        if let file = try? readText(directory + "/loop/backing_file", limit: 4096) {
            found.formUnion(functions(belowPath: file, &seen))
        }
        if let subsystem = HostRoot.parent(of: directory), subsystem.contains("/nvme-subsystem/") {
            for name in (try? listDirectory(subsystem)) ?? [] {
                found.formUnion(root.resolve("\(subsystem)/\(name)").map { root.functions(on: $0) } ?? [])
            }
        }
        return found
    }

    private func btrfsFunctions(_ source: String, _ seen: inout Set<String>) -> Set<PCIAddress> {
        guard let member = kernelName(ofNode: source) else { return [] }
        var found: Set<PCIAddress> = []
        let directory = "\(root.path)/sys/fs/btrfs"
        for name in (try? listDirectory(directory)) ?? [] {
            let devices = (try? listDirectory("\(directory)/\(name)/devices")) ?? []
            guard devices.contains(member) else { continue }
            for device in devices { found.formUnion(functions(belowName: device, &seen)) }
        }
        return found
    }

    /// The kernel's name of a device node, through one link as udev makes them.
    private func kernelName(ofNode path: String) -> String? {
        let target = (try? readSymbolicLink(root.path + path)) ?? path
        return target.split(separator: "/").last.map(String.init)
    }
}

/// A mounted file system: a line of mountinfo (proc_pid_mountinfo(5)).
struct Mount: Hashable {
    /// The device's number, such as `254:1`.
    let number: String
    let mountPoint: String
    let type: String
    /// What is mounted, such as `/dev/vda1`.
    let source: String
    let line: String

    /// Nil for a line that is none of mountinfo's.
    init?(_ line: Substring) {
        let fields = line.split(separator: " ")
        guard fields.count > 6, let separator = fields.firstIndex(of: "-"), fields.count > separator + 2 else {
            return nil
        }
        number = String(fields[2])
        mountPoint = HostRoot.unescape(fields[4])
        type = String(fields[separator + 1])
        source = HostRoot.unescape(fields[separator + 2])
        self.line = String(line)
    }

    /// The mount that `path` is on: the last one of those with the longest mount point.
    static func holding(_ path: String, among mounts: [Mount]) -> Mount? {
        mounts.filter { mount in
            mount.mountPoint == "/" || path == mount.mountPoint || path.hasPrefix(mount.mountPoint + "/")
        }.reversed().max { $0.mountPoint.utf8.count < $1.mountPoint.utf8.count }
    }
}
