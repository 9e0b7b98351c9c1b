public import LinuxSystem
public import PCI
internal import SystemPackage

/// Accesses sysfs attributes that can sleep through a helper process each: our own executable, started with nothing but
/// the verb, the path and the value.
///
/// A process that sleeps in such a write cannot be killed and its descriptors do not close, so it must hold none of a
/// device and must not be the process whose progress the write waits for.
public struct SysfsWriter: SysfsWriting {
    /// The first argument of a helper that writes.
    public static let writeVerb = "sysfs-write"
    /// The first argument of a helper that reads.
    public static let readVerb = "sysfs-read"
    private static let notAllowed: Int32 = 255
    private let executable: String

    /// Uses `executable`, whose main function calls ``main(_:root:)`` for the two verbs.
    public init(executable: String = "/proc/self/exe") { self.executable = executable }

    /// Blocks until the helper has ended.
    public func write(_ value: String, to path: String) throws(KernelError) {
        let helper = try ChildProcess(executable: executable, arguments: [SysfsWriter.writeVerb, path, value])
        try SysfsWriter.check(try helper.wait(), "write", path)
    }

    /// Blocks until the helper has ended.
    public func read(_ path: String) throws(KernelError) -> String {
        let (ours, theirs) = try UnixSocket.pair(.stream).take { (SharedDescriptor($0), SharedDescriptor($1)) }
        let helper = try withExtendedLifetime(theirs) { () throws(KernelError) in
            try ChildProcess(
                executable: executable, arguments: [SysfsWriter.readVerb, path], descriptors: [theirs.rawValue])
        }
        try SysfsWriter.check(try helper.wait(), "read", path)
        // What the helper wrote fits the socket's buffer, so it could end without our reading.
        let socket = UnixSocket(adopting: try ours.duplicate())
        try socket.descriptor.setNonBlocking(true)
        do {
            return String(decoding: try socket.receive(limit: 4096).bytes, as: UTF8.self)
        } catch {
            if error.errno == .resourceTemporarilyUnavailable { return "" }
            throw error
        }
    }

    /// The helper's main function. `arguments` begin with the verb. Returns its exit status: 0, an errno, or 255 for
    /// what it must not do. It touches only the attributes below `root` that vfiod needs.
    public static func main(_ arguments: [String], root: String = "/sys") -> Int32 {
        do throws(KernelError) {
            switch arguments.first {
            case writeVerb where arguments.count == 3 && mayWrite(arguments[1], below: root):
                try writeOnce(Array(arguments[2].utf8), to: openFile(arguments[1], .writeOnly), path: arguments[1])
            case readVerb where arguments.count == 2 && mayRead(arguments[1], below: root):
                let content = try readFile(arguments[1], limit: 4096)
                if !content.isEmpty { try writeOnce(content, to: OwnedDescriptor(adopting: 3), path: "descriptor 3") }
            default:
                return notAllowed
            }
            return 0
        } catch {
            // An exit status has eight bits, and 255 is taken; the kernel's own errnos beyond are not for processes.
            return (1..<notAllowed).contains(error.errno.rawValue) ? error.errno.rawValue : Errno.ioError.rawValue
        }
    }

    static func mayWrite(_ path: String, below root: String) -> Bool {
        guard let parts = components(path, below: root) else { return false }
        switch parts.count {
        case 1: return parts == ["drivers_probe"]
        case 3 where parts[0] == "drivers":
            return isName(parts[1]) && ["bind", "unbind"].contains(parts[2])
        case 3 where parts[0] == "devices":
            let attributes = [
                "driver_override", "enable", "reset", "reset_method", "sriov_drivers_autoprobe", "sriov_numvfs",
                "uevent",
            ]
            return PCIAddress(parts[1]) != nil && attributes.contains(parts[2])
        case 4 where parts[0] == "devices":
            return PCIAddress(parts[1]) != nil && parts[2] == "power" && parts[3] == "control"
        default: return false
        }
    }

    static func mayRead(_ path: String, below root: String) -> Bool {
        guard let parts = components(path, below: root), parts.count == 3 else { return false }
        return parts[0] == "devices" && PCIAddress(parts[1]) != nil
            && ["driver_override", "sriov_numvfs"].contains(parts[2])
    }

    /// Whether `text` can be a directory below `drivers`.
    static func isName(_ text: String) -> Bool {
        !text.isEmpty && text != "." && text != ".." && !text.utf8.contains(0x2f) && !text.utf8.contains(0)
    }

    private static func components(_ path: String, below root: String) -> [String]? {
        let prefix = root + "/bus/pci/"
        guard path.hasPrefix(prefix) else { return nil }
        return path.dropFirst(prefix.count).split(separator: "/", omittingEmptySubsequences: false).map(String.init)
    }

    private static func check(_ exit: ChildProcess.Exit?, _ call: String, _ path: String) throws(KernelError) {
        switch exit {
        case .status(0): return
        case .status(Int(notAllowed)): throw KernelError(call, on: path, .notPermitted)
        case .status(let status): throw KernelError(call, on: path, Errno(rawValue: CInt(truncatingIfNeeded: status)))
        case .signal, nil: throw KernelError(call, on: path, .interrupted)
        }
    }
}
