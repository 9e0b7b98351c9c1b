internal import LinuxSystem
internal import PCI

/// A process that has a VFIO device open.
struct Holder: Hashable, Sendable, CustomStringConvertible {
    let processID: Int
    let command: String

    var blocker: Blocker {
        Blocker(
            code: .held, message: "The device is held by \(self).", evidence: "/proc/\(processID)/fd",
            remedy: "End that process, or what it does with the device.")
    }

    var description: String { "process \(processID) (\(command))" }
}

/// Finds who has a device open, by the links in /proc/PID/fd.
struct HolderSearch: Sendable {
    let root: HostRoot

    /// The processes that hold `address` or its IOMMU group, ascending.
    ///
    /// An open device has no name before kernel 6.18 (then fdinfo has `vfio-device-syspath`). A process that has such
    /// a descriptor, and no IOMMU group that would tell which device it is, is counted too if nobody else is found and
    /// `onlySure` is not asked for.
    func holders(of address: PCIAddress, onlySure: Bool = false) -> [Holder] {
        guard let group = root.sysfs.iommuGroup(of: address) else { return [] }
        var nodes: Set<String> = ["/dev/vfio/\(group)", "/dev/vfio/noiommu-\(group)"]
        for name in (try? listDirectory(root.sysfs.path(of: address, "vfio-dev"))) ?? [] {
            nodes.insert("/dev/vfio/devices/\(name)")
        }
        var sure: [Holder] = []
        var possible: [Holder] = []
        let processes = ((try? listDirectory(root.proc(""))) ?? []).compactMap { Int($0) }.sorted()
        for process in processes {
            let links = links(of: process)
            let deviceDescriptors = links.filter { $0.target.hasPrefix("anon_inode:[vfio-device]") }.map(\.descriptor)
            let paths = deviceDescriptors.compactMap { devicePath(process, $0) }
            if links.contains(where: { nodes.contains($0.target) })
                || paths.contains(where: { root.functions(on: $0).last == address })
            {
                sure.append(holder(process))
            } else if paths.count < deviceDescriptors.count,
                !links.contains(where: { $0.target.hasPrefix("/dev/vfio/") && $0.target != "/dev/vfio/vfio" })
            {
                possible.append(holder(process))
            }
        }
        return sure.isEmpty && !onlySure ? possible : sure
    }

    private func links(of process: Int) -> [(descriptor: String, target: String)] {
        // A process that ends meanwhile, or that we may not look into, holds nothing that we can name.
        let descriptors = (try? listDirectory(root.proc("\(process)/fd"))) ?? []
        return descriptors.compactMap { descriptor in
            (try? readSymbolicLink(root.proc("\(process)/fd/\(descriptor)"))).map { (descriptor, $0) }
        }
    }

    private func devicePath(_ process: Int, _ descriptor: String) -> String? {
        let key = "vfio-device-syspath:"
        let text = try? readText(root.proc("\(process)/fdinfo/\(descriptor)"), limit: 1 << 16)
        return text?.split(separator: "\n").first { $0.hasPrefix(key) }.map { String($0.dropFirst(key.count)) }
    }

    private func holder(_ process: Int) -> Holder {
        Holder(processID: process, command: (try? readText(root.proc("\(process)/comm"), limit: 4096)) ?? "?")
    }
}
