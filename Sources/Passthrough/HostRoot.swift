public import LinuxSystem
public import PCI

/// Where the host's files are: the host we run on, or a tree that looks like one.
public struct HostRoot: Sendable {
    /// What stands before `/sys`, `/proc` and `/dev`; empty for the host we run on.
    public let path: String
    /// How long udev may take to load a driver.
    let driverDeadline: Duration
    private let files: any FileReading

    /// Uses the files below `path`, those of sysfs through `files`.
    public init(
        path: String = "", files: any FileReading = LiveFiles(), driverDeadline: Duration = .seconds(5)
    ) {
        (self.path, self.files, self.driverDeadline) = (path, files, driverDeadline)
    }

    /// The PCI functions.
    public var sysfs: Sysfs { Sysfs(root: path + "/sys", files: files) }

    /// A file of procfs.
    func proc(_ name: String) -> String { "\(path)/proc/\(name)" }

    /// What tells this boot from any other; empty if the host does not say.
    var bootID: String { (try? readText(proc("sys/kernel/random/boot_id"), limit: 256)) ?? "" }

    /// The absolute path that a link of sysfs leads to. Its links are relative and one level deep.
    func resolve(_ link: String) -> String? {
        guard let target = try? readSymbolicLink(link) else { return nil }
        if target.hasPrefix("/") { return path + target }
        var parts = link.split(separator: "/").dropLast()
        for part in target.split(separator: "/") where part != "." {
            if part == ".." { parts = parts.dropLast() } else { parts.append(part) }
        }
        return "/" + parts.joined(separator: "/")
    }

    /// The PCI functions that a path of sysfs goes through, from the root bus outwards.
    func functions(on path: String) -> [PCIAddress] {
        path.split(separator: "/").compactMap { PCIAddress(String($0)) }
    }

    /// The directory that a path is in.
    static func parent(of path: String) -> String? {
        path.lastIndex(of: "/").map { String(path[..<$0]) }
    }

    /// Undoes the octal escapes of /proc/mounts and /proc/swaps, such as `\040` for a space.
    static func unescape(_ field: Substring) -> String {
        var bytes: [UInt8] = []
        var rest = Array(field.utf8)[...]
        while let byte = rest.popFirst() {
            let digits = rest.prefix(3)
            if byte == 0x5c, digits.count == 3, let value = UInt8(String(decoding: digits, as: UTF8.self), radix: 8) {
                bytes.append(value)
                rest = rest.dropFirst(3)
            } else {
                bytes.append(byte)
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
