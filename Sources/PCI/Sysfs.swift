internal import LinuxSystem

/// The PCI functions as sysfs shows them, now.
///
/// Reading answers nil for what is not there or not understood: a function can go at any moment, and older kernels lack
/// attributes. `driver_override` and `sriov_numvfs` are not read here: their readers wait for the device lock, which an
/// unbind may hold for ever.
public struct Sysfs: Sendable {
    /// Where sysfs is mounted.
    public let root: String

    /// Reads below `root`.
    public init(root: String = "/sys") { self.root = root }

    /// The directory of a function.
    public func path(of address: PCIAddress) -> String { "\(root)/bus/pci/devices/\(address)" }

    /// The path of an attribute of a function.
    public func path(of address: PCIAddress, _ attribute: String) -> String { path(of: address) + "/" + attribute }

    /// The directory of a PCI driver.
    public func path(ofDriver name: String) -> String { "\(root)/bus/pci/drivers/\(name)" }

    /// The attribute that makes the kernel look for a driver.
    public var probePath: String { "\(root)/bus/pci/drivers_probe" }

    /// The functions that sysfs has a directory of, ascending.
    public func addresses() -> [PCIAddress] {
        ((try? listDirectory("\(root)/bus/pci/devices")) ?? []).compactMap { PCIAddress($0) }.sorted()
    }

    /// Whether there is such a function.
    public func contains(_ address: PCIAddress) -> Bool { pathExists(path(of: address)) }

    /// Whether there is such a PCI driver.
    public func containsDriver(_ name: String) -> Bool { pathExists(path(ofDriver: name)) }

    /// An attribute's content without its newline; nil if it cannot be read or is longer than a page.
    public func text(_ address: PCIAddress, _ attribute: String) -> String? {
        try? readText(path(of: address, attribute), limit: 4096)
    }

    /// What the function is; nil if one of its ids cannot be read.
    public func function(_ address: PCIAddress) -> PCIFunction? {
        guard let vendor: UInt16 = number(address, "vendor"), let device: UInt16 = number(address, "device"),
            let classCode: UInt32 = number(address, "class"), classCode < 1 << 24
        else { return nil }
        return PCIFunction(
            address: address, vendorID: vendor, deviceID: device, classCode: classCode,
            revision: number(address, "revision") ?? 0, subsystemVendorID: number(address, "subsystem_vendor") ?? 0,
            subsystemDeviceID: number(address, "subsystem_device") ?? 0)
    }

    /// The driver it is bound to, nil if none.
    public func driver(of address: PCIAddress) -> String? { linkName(path(of: address, "driver")) }

    /// Its configuration space; empty if it cannot be read.
    public func configSpace(of address: PCIAddress) -> ConfigSpace {
        let bytes = try? readFile(path(of: address, "config"), limit: 4096)
        return ConfigSpace(bytes ?? [])
    }

    /// The number of its IOMMU group, nil without an IOMMU.
    public func iommuGroup(of address: PCIAddress) -> Int? {
        linkName(path(of: address, "iommu_group")).flatMap { Int($0) }.flatMap { $0 >= 0 ? $0 : nil }
    }

    /// The members of an IOMMU group that are PCI functions, ascending.
    public func members(ofIOMMUGroup group: Int) -> [PCIAddress] {
        let names = (try? listDirectory("\(root)/kernel/iommu_groups/\(group)/devices")) ?? []
        return names.compactMap { PCIAddress($0) }.sorted()
    }

    /// The reset methods that the kernel would use, in order (reset_method).
    public func resetMethods(of address: PCIAddress) -> [String] {
        text(address, "reset_method")?.split(whereSeparator: \.isWhitespace).map(String.init) ?? []
    }

    /// The NUMA node, nil if the host does not say.
    public func numaNode(of address: PCIAddress) -> Int? {
        text(address, "numa_node").flatMap { Int($0) }.flatMap { $0 >= 0 ? $0 : nil }
    }

    /// How many virtual functions it could have; nil if it is no physical function.
    public func totalVirtualFunctions(of address: PCIAddress) -> Int? {
        text(address, "sriov_totalvfs").flatMap { Int($0) }.flatMap { $0 >= 0 ? $0 : nil }
    }

    /// Its virtual functions, ascending. Counted by their links, which no lock guards.
    public func virtualFunctions(of address: PCIAddress) -> [PCIAddress] {
        let names = (try? listDirectory(path(of: address))) ?? []
        return names.filter { $0.hasPrefix("virtfn") }
            .compactMap { linkName(path(of: address, $0)).flatMap { PCIAddress($0) } }.sorted()
    }

    /// The last component of a link's target.
    private func linkName(_ path: String) -> String? {
        guard let target = try? readSymbolicLink(path), let name = target.split(separator: "/").last else { return nil }
        return String(name)
    }

    private func number<Number: FixedWidthInteger>(_ address: PCIAddress, _ attribute: String) -> Number? {
        guard let text = text(address, attribute) else { return nil }
        return text.hasPrefix("0x") ? Number(text.dropFirst(2), radix: 16) : nil
    }
}
