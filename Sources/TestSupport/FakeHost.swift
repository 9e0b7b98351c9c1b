public import LinuxSystem
public import PCI
public import SystemPackage

/// A host made of files: its sysfs and procfs as far as vfiod reads them, and its kernel's behaviour on writes.
///
/// The kernel's rules are those of drivers/base/bus.c and drivers/pci/pci-driver.c: driver_override decides alone where
/// it is set, a probe that finds no driver is a success, one that a driver refuses is EINVAL.
public final class FakeHost: SysfsWriting {
    /// One write, as the kernel saw it.
    public struct Write: Hashable, Sendable {
        /// The path below `/sys/bus/pci/`.
        public let attribute: String
        /// What was written.
        public let value: String
    }

    /// What goes wrong with a write.
    public enum WriteFault: Hashable, Sendable {
        /// It is refused and does nothing.
        case refused(Errno)
        /// It does what it should, and is called refused.
        case calledRefused(Errno)
        /// It does nothing, and is called a success.
        case ignored
    }

    /// A write that can sleep.
    public enum SleepingWrite: Sendable { case unbind, reset }

    private struct Gate: Hashable {
        let address: PCIAddress
        let write: SleepingWrite
    }

    private struct State {
        var matches: [String: Set<PCIAddress>] = [:]
        var refusals: [String: Set<PCIAddress>] = [:]
        var writes: [Write] = []
        var faults: [Int: WriteFault] = [:]
        var failingReads: [String: Errno] = [:]
        var gates: [Gate: EventFD] = [:]
        var blocked: Set<PCIAddress> = []
        var resets: [String] = []
        var readsWhileLocked = 0
        var afterWrite: (@Sendable (Int) -> Void)?
    }

    /// The path before `/sys` and `/proc`.
    public let root: String
    /// What its kernel says about its devices: drivers that come and go, and functions.
    public let uevents = FakeUevents()
    let tree: FileTree
    private let directory: TemporaryDirectory
    private let state = Lock(State())

    /// Makes a host without devices, with vfio-pci loaded.
    public init() throws(KernelError) {
        directory = try TemporaryDirectory()
        root = directory.path
        tree = FileTree(root: root)
        for name in ["/sys/bus/pci/devices", "/sys/class/block", "/sys/class/net", "/sys/dev/block", "/var/lib"] {
            tree.makeDirectories(name)
        }
        tree.write("", to: "/sys/bus/pci/drivers_probe")
        tree.write("", to: "/proc/self/mountinfo")
        tree.write("1111-2222\n", to: "/proc/sys/kernel/random/boot_id")
        addDriver("vfio-pci", matching: [])
    }

    /// A host that is now as `other` is now, and changes apart from it.
    public init(copying other: FakeHost) throws(KernelError) {
        directory = try TemporaryDirectory()
        root = directory.path
        tree = FileTree(root: root)
        other.tree.copy(to: tree)
        let (matches, refusals) = other.state.withLock { ($0.matches, $0.refusals) }
        state.withLock { ($0.matches, $0.refusals) = (matches, refusals) }
    }

    /// Where an intent log may be kept.
    public var stateDirectory: String { root + "/var/lib/vfiod" }

    /// Writes any file of the host, such as `/proc/swaps`.
    public func set(_ name: String, _ content: String) { tree.write(content, to: name) }

    /// Writes any bytes to any file of the host.
    public func set(_ name: String, bytes: [UInt8]) { tree.write(bytes, to: name) }

    /// Makes any link of the host.
    public func link(_ name: String, to target: String) { tree.link(name, to: target) }

    /// Removes a file of the host.
    public func remove(_ name: String) { tree.remove(name) }

    /// The content of a file of the host.
    public func content(_ name: String) -> String? {
        (try? readFile(tree.path(name))).map { String(decoding: $0, as: UTF8.self) }
    }

    /// Loads a driver that takes the given functions without an override.
    public func addDriver(_ name: String, matching functions: Set<PCIAddress>) {
        tree.makeDirectories("/sys/bus/pci/drivers/\(name)")
        state.withLock { $0.matches[name] = functions }
    }

    /// From now on, or no more, the driver's probe refuses the function.
    public func setRefusal(_ driver: String, of address: PCIAddress, _ refuses: Bool = true) {
        state.withLock { state in
            if refuses {
                state.refusals[driver, default: []].insert(address)
            } else {
                state.refusals[driver]?.remove(address)
            }
        }
    }

    /// The write with this number, counted from 1 from now on, is refused and does nothing.
    public func failWrite(_ number: Int, with error: Errno) { failWrite(number, .refused(error)) }

    /// The write with this number, counted from 1 from now on, goes wrong.
    public func failWrite(_ number: Int, _ fault: WriteFault) {
        state.withLock { $0.faults[$0.writes.count + number] = fault }
    }

    /// From now on, or no more, driver_override cannot be read.
    public func failReads(ofOverrideOf address: PCIAddress, with error: Errno?) {
        failReads(of: address, "driver_override", with: error)
    }

    /// From now on, or no more, an attribute cannot be read by ``read(_:)``.
    public func failReads(of address: PCIAddress, _ attribute: String, with error: Errno?) {
        state.withLock { $0.failingReads["\(root)/sys/bus/pci/devices/\(address)/\(attribute)"] = error }
    }

    /// After each write from now on, with its number.
    public func afterWrite(_ body: @escaping @Sendable (Int) -> Void) {
        state.withLock { $0.afterWrite = body }
    }

    /// What was written so far, refused or not.
    public var writes: [Write] { state.withLock { $0.writes } }

    /// From now on this write sleeps for the function until ``release(_:_:)``: an unbind from vfio-pci, because a process
    /// holds the function, or a reset.
    public func hold(_ address: PCIAddress, _ write: SleepingWrite = .unbind) throws(KernelError) {
        let gate = try EventFD()
        state.withLock { $0.gates[Gate(address: address, write: write)] = gate }
    }

    /// The write goes on.
    public func release(_ address: PCIAddress, _ write: SleepingWrite = .unbind) throws(KernelError) {
        let gate = state.withLock { $0.gates.removeValue(forKey: Gate(address: address, write: write)) }
        try gate?.signal()
    }

    /// The resets by the functions' own `reset` so far, each as `ADDRESS METHOD`; begun ones count.
    public var resets: [String] { state.withLock { $0.resets } }

    /// Whether an unbind sleeps.
    public func isBlocked(_ address: PCIAddress) -> Bool { state.withLock { $0.blocked.contains(address) } }

    /// How many reads had to wait for the device lock that a sleeping unbind holds.
    public var readsWhileLocked: Int { state.withLock { $0.readsWhileLocked } }

    /// The driver link's last component.
    public func driver(of address: PCIAddress) -> String? {
        let link = try? readSymbolicLink(tree.path("\(FakeHost.device(address))/driver"))
        return link?.split(separator: "/").last.map(String.init)
    }

    /// Everything that Restore has to put back, byte for byte.
    public func settings(of address: PCIAddress) -> [String: String] {
        var found = ["driver": driver(of: address) ?? ""]
        for name in [
            "driver_override", "power/control", "enable", "sriov_numvfs", "sriov_drivers_autoprobe", "reset_method",
        ] {
            found[name] = content("\(FakeHost.device(address))/\(name)")
        }
        return found
    }

    /// Reads what waits for the device lock: driver_override, sriov_numvfs.
    public func read(_ path: String) throws(KernelError) -> String {
        if let error = state.withLock({ $0.failingReads[path] }) { throw KernelError("read", on: path, error) }
        state.withLock { state in
            if state.blocked.contains(where: { path.contains($0.description) }) { state.readsWhileLocked += 1 }
        }
        return String(decoding: try readFile(path), as: UTF8.self)
    }

    /// Does what the kernel does.
    public func write(_ value: String, to path: String) throws(KernelError) {
        let attribute = String(path.dropFirst("\(root)/sys/bus/pci/".count))
        let (number, fault, afterWrite) = state.withLock { state in
            state.writes.append(Write(attribute: attribute, value: value))
            return (state.writes.count, state.faults[state.writes.count], state.afterWrite)
        }
        defer { afterWrite?(number) }
        if case .refused(let error) = fault { throw KernelError("write", on: path, error) }
        if fault != .ignored { try perform(value, attribute, path) }
        if case .calledRefused(let error) = fault { throw KernelError("write", on: path, error) }
    }

    private func perform(_ value: String, _ attribute: String, _ path: String) throws(KernelError) {
        let parts = attribute.split(separator: "/").map(String.init)
        switch (parts.first, parts.count) {
        case ("drivers_probe", 1): try probe(value, path)
        case ("drivers", 3) where parts[2] == "unbind": try unbind(value, from: parts[1], path)
        case ("drivers", 3) where parts[2] == "bind": try bind(value, to: parts[1], path)
        case ("devices", 3...): try store(value, parts, path)
        default: throw KernelError("open", on: path, .noSuchFileOrDirectory)
        }
    }

    private func store(_ value: String, _ parts: [String], _ path: String) throws(KernelError) {
        let name = "/sys/bus/pci/\(parts.joined(separator: "/"))"
        guard pathExists(path) else { throw KernelError("open", on: path, .noSuchFileOrDirectory) }
        let attribute = parts.dropFirst(2).joined(separator: "/")
        if attribute == "enable", PCIAddress(parts[1]).flatMap(driver) != nil {
            throw KernelError("write", on: path, .resourceBusy)
        }
        if attribute == "reset" { return try reset(value, parts[1], path) }
        if attribute == "sriov_numvfs", let address = PCIAddress(parts[1]) {
            return try setVirtualFunctions(of: address, value, path)
        }
        let isEmptied = attribute == "driver_override" && value == "\n"
        tree.write(isEmptied ? "(null)\n" : value.hasSuffix("\n") ? value : value + "\n", to: name)
    }

    /// The kernel tries the methods in order (drivers/pci/pci.c, __pci_reset_function_locked).
    private func reset(_ value: String, _ name: String, _ path: String) throws(KernelError) {
        guard value == "1", let address = PCIAddress(name) else {
            throw KernelError("write", on: path, .invalidArgument)
        }
        guard
            let method = content("\(FakeHost.device(address))/reset_method")?.split(whereSeparator: \.isWhitespace)
                .first
        else { throw KernelError("write", on: path, .inappropriateIOCTLForDevice) }
        let gate = state.withLock { state in
            state.resets.append("\(address) \(method)")
            return state.gates[Gate(address: address, write: .reset)]
        }
        gate?.wait()
    }

    private func unbind(_ value: String, from driver: String, _ path: String) throws(KernelError) {
        guard let address = PCIAddress(value), self.driver(of: address) == driver else {
            throw KernelError("write", on: path, .operationNotSupportedByDevice)
        }
        if driver == "vfio-pci", let gate = state.withLock({ $0.gates[Gate(address: address, write: .unbind)] }) {
            state.withLock { _ = $0.blocked.insert(address) }
            gate.wait()
            state.withLock { _ = $0.blocked.remove(address) }
        }
        tree.remove("\(FakeHost.device(address))/driver")
        tree.write("0\n", to: "\(FakeHost.device(address))/enable")
        sendUevent("unbind", address)
    }

    func probe(_ value: String, _ path: String) throws(KernelError) {
        guard let address = PCIAddress(value), pathExists(tree.path(FakeHost.device(address))) else {
            throw KernelError("write", on: path, .operationNotSupportedByDevice)
        }
        guard driver(of: address) == nil else { return }
        let override = override(of: address)
        let drivers = state.withLock { $0.matches }
        let found = drivers.keys.sorted().first { name in
            override.map { $0 == name } ?? drivers[name]?.contains(address) ?? false
        }
        if let found { try attach(address, to: found, path, refusal: .invalidArgument) }
    }

    private func bind(_ value: String, to driver: String, _ path: String) throws(KernelError) {
        guard pathExists(tree.path("/sys/bus/pci/drivers/\(driver)")) else {
            throw KernelError("open", on: path, .noSuchFileOrDirectory)
        }
        guard let address = PCIAddress(value),
            override(of: address).map({ $0 == driver })
                ?? state.withLock({ $0.matches[driver]?.contains(address) ?? false })
        else { throw KernelError("write", on: path, .operationNotSupportedByDevice) }
        guard self.driver(of: address) == nil else { throw KernelError("write", on: path, .resourceBusy) }
        try attach(address, to: driver, path, refusal: .ioError)
    }

    private func attach(
        _ address: PCIAddress, to driver: String, _ path: String, refusal: Errno
    ) throws(KernelError) {
        if state.withLock({ $0.refusals[driver]?.contains(address) ?? false }) {
            throw KernelError("write", on: path, refusal)
        }
        tree.link("\(FakeHost.device(address))/driver", to: "../../../bus/pci/drivers/\(driver)")
        tree.write(driver == "vfio-pci" ? "0\n" : "1\n", to: "\(FakeHost.device(address))/enable")
        // Drivers set their own power policy when they come.
        tree.write("auto\n", to: "\(FakeHost.device(address))/power/control")
        sendUevent("bind", address)
    }

    /// What the kernel says when something has happened to a function.
    public func sendUevent(_ action: String, _ address: PCIAddress) {
        uevents.send(action, "/devices/pci0000:00/\(address)", ["PCI_SLOT_NAME=\(address)"])
    }

    private func override(of address: PCIAddress) -> String? {
        let text = content("\(FakeHost.device(address))/driver_override")?.split(separator: "\n").first
        return text == nil || text == "(null)" ? nil : text.map(String.init)
    }

    static func device(_ address: PCIAddress) -> String { "/sys/devices/pci0000:00/\(address)" }
}
