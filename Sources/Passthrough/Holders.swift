internal import LinuxSystem
internal import PCI

/// A process that has a VFIO device open.
public struct Holder: Hashable, Sendable, CustomStringConvertible {
    /// The process.
    public let processID: Int
    /// What it runs (/proc/PID/comm).
    public let command: String
    /// The systemd unit that it belongs to, such as `libvirtd.service`; nil if it is in none.
    public let unit: String?
    /// Its descriptors that hold the device, ascending.
    public let descriptors: [Int]

    /// Creates a holder.
    public init(processID: Int, command: String, unit: String?, descriptors: [Int]) {
        (self.processID, self.command) = (processID, command)
        (self.unit, self.descriptors) = (unit, descriptors)
    }

    var blocker: Blocker {
        Blocker(
            code: .held, message: "The device is held by \(self).", evidence: "/proc/\(processID)/fd",
            remedy: "End that process, or what it does with the device.")
    }

    /// For example `process 77 (qemu-system-x86) of libvirtd.service`.
    public var description: String {
        "process \(processID) (\(command))" + (unit.map { " of \($0)" } ?? "")
    }
}

/// Finds who has a device open, by the links in /proc/PID/fd.
struct HolderSearch: Sendable {
    let root: HostRoot

    /// The processes that hold `address` or its IOMMU group, ascending.
    ///
    /// An open device has no name before kernel 6.18 (then fdinfo has `vfio-device-syspath`). A process that has such
    /// a descriptor, and no IOMMU group that would tell which device it is, is counted too if nobody else is found and
    /// `onlySure` is not asked for, unless it is one of `users`, which are known to use other devices. `except` is left out.
    func holders(
        of address: PCIAddress, onlySure: Bool = false, users: Set<Int> = [], except: Int? = nil
    ) -> [Holder] {
        guard let group = root.sysfs.iommuGroup(of: address) else { return [] }
        var nodes: Set<String> = ["/dev/vfio/\(group)", "/dev/vfio/noiommu-\(group)"]
        for name in (try? listDirectory(root.sysfs.path(of: address, "vfio-dev"))) ?? [] {
            nodes.insert("/dev/vfio/devices/\(name)")
        }
        var sure: [Holder] = []
        var possible: [Holder] = []
        for process in processes where process != except {
            let links = links(of: process)
            let open = links.filter { nodes.contains($0.target) }.map(\.descriptor)
            let devices = links.filter { $0.target.hasPrefix("anon_inode:[vfio-device]") }.map(\.descriptor)
            let paths = devices.map { ($0, devicePath(process, $0)) }
            let ours = paths.filter { $1.map { root.functions(on: $0).last == address } ?? false }.map(\.0)
            let nameless = paths.filter { $1 == nil }.map(\.0)
            if !open.isEmpty || !ours.isEmpty {
                // Beside the open IOMMU group, a device without a name is most likely this one.
                sure.append(holder(process, open + ours + (open.isEmpty ? [] : nameless)))
            } else if !nameless.isEmpty, !users.contains(process),
                !links.contains(where: { $0.target.hasPrefix("/dev/vfio/") && $0.target != "/dev/vfio/vfio" })
            {
                possible.append(holder(process, nameless))
            }
        }
        return sure.isEmpty && !onlySure ? possible : sure
    }

    var processes: [Int] { ((try? listDirectory(root.proc(""))) ?? []).compactMap { Int($0) }.sorted() }

    func links(of process: Int) -> [(descriptor: String, target: String)] {
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

    func holder(_ process: Int, _ descriptors: [String]) -> Holder {
        Holder(
            processID: process, command: (try? readText(root.proc("\(process)/comm"), limit: 4096)) ?? "?",
            unit: unit(of: process), descriptors: descriptors.compactMap { Int($0) }.sorted())
    }

    /// The innermost unit on the process' path in the cgroup tree, whose line begins with `0::` (cgroups(7)).
    private func unit(of process: Int) -> String? {
        let text = (try? readText(root.proc("\(process)/cgroup"), limit: 1 << 16)) ?? ""
        let path = text.split(separator: "\n").first { $0.hasPrefix("0::") }
        let unit = path?.split(separator: "/").last { $0.hasSuffix(".service") || $0.hasSuffix(".scope") }
        return unit.map(String.init)
    }
}
