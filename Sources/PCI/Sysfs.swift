public import LinuxSystem
internal import SystemPackage

/// The PCI functions as sysfs shows them, now.
///
/// Reading answers nil for what is not there or not understood: a function can go at any moment, and older kernels lack
/// attributes. What is read here waits for nobody, but for ``configSpace(of:)`` and ``link(of:)``, which wait for a
/// reset to end. `driver_override` and `sriov_numvfs` are not read here: their readers wait for the device lock, which
/// an unbind may hold for ever.
public struct Sysfs: Sendable {
    /// Where sysfs is mounted.
    public let root: String
    private let files: any FileReading

    /// Reads below `root`.
    public init(root: String = "/sys", files: any FileReading = LiveFiles()) {
        (self.root, self.files) = (root, files)
    }

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
        list("\(root)/bus/pci/devices").compactMap { PCIAddress($0) }.sorted()
    }

    /// Whether there is such a function.
    public func contains(_ address: PCIAddress) -> Bool { files.pathExists(path(of: address)) }

    /// Whether there is such a PCI driver.
    public func containsDriver(_ name: String) -> Bool { files.pathExists(path(ofDriver: name)) }

    /// An attribute's content without its newline; nil if it cannot be read or is longer than a page.
    public func text(_ address: PCIAddress, _ attribute: String) -> String? {
        try? files.readText(path(of: address, attribute))
    }

    /// An attribute's content byte for byte; nil only if the function has none such.
    public func content(of address: PCIAddress, _ attribute: String) throws(KernelError) -> String? {
        let bytes = try presence { () throws(KernelError) in
            try files.readFile(path(of: address, attribute), limit: 4096)
        }
        return bytes.map { String(decoding: $0, as: UTF8.self) }
    }

    /// What the function is; nil if one of its ids cannot be read: one that is on its way out must not look like another.
    public func function(_ address: PCIAddress) -> PCIFunction? {
        guard let vendor: UInt16 = number(address, "vendor"), let device: UInt16 = number(address, "device"),
            let classCode: UInt32 = number(address, "class"), classCode < 1 << 24,
            let revision: UInt8 = number(address, "revision"),
            let subsystemVendor: UInt16 = number(address, "subsystem_vendor"),
            let subsystemDevice: UInt16 = number(address, "subsystem_device")
        else { return nil }
        return PCIFunction(
            address: address, vendorID: vendor, deviceID: device, classCode: classCode, revision: revision,
            subsystemVendorID: subsystemVendor, subsystemDeviceID: subsystemDevice)
    }

    /// The driver it is bound to, nil if none. A driver that is being asked shows here already.
    public func driver(of address: PCIAddress) -> String? { linkName(path(of: address, "driver")) }

    /// ``driver(of:)``, for whom what cannot be read is not the same as none.
    public func readDriver(of address: PCIAddress) throws(KernelError) -> String? {
        let link = try presence { () throws(KernelError) in
            try files.readSymbolicLink(path(of: address, "driver"))
        }
        return link.flatMap { $0.split(separator: "/").last }.map(String.init)
    }

    /// Its configuration space; empty if it cannot be read.
    public func configSpace(of address: PCIAddress) -> ConfigSpace {
        let bytes = try? files.readFile(path(of: address, "config"), limit: 4096)
        return ConfigSpace(bytes ?? [])
    }

    /// Whether it is a bridge to another bus.
    public func isBridge(_ address: PCIAddress) -> Bool {
        files.pathExists(path(of: address, "secondary_bus_number"))
    }

    /// The functions on the way to it, from the one on a root bus to itself; empty if it is not there.
    public func route(to address: PCIAddress) -> [PCIAddress] {
        let target = try? files.readSymbolicLink(path(of: address))
        return target?.split(separator: "/").compactMap { PCIAddress(String($0)) } ?? []
    }

    /// The physical slots of this host.
    public func slots() -> [PCISlot] {
        list("\(root)/bus/pci/slots").compactMap { name in
            let address = try? files.readText("\(root)/bus/pci/slots/\(name)/address")
            return address.flatMap { PCISlot(name: name, address: $0) }
        }
    }

    /// The number of its IOMMU group, nil without an IOMMU.
    public func iommuGroup(of address: PCIAddress) -> Int? {
        linkName(path(of: address, "iommu_group")).flatMap { Int($0) }.flatMap { $0 >= 0 ? $0 : nil }
    }

    /// The members of an IOMMU group that are PCI functions, ascending.
    public func members(ofIOMMUGroup group: Int) -> [PCIAddress] {
        list("\(root)/kernel/iommu_groups/\(group)/devices").compactMap { PCIAddress($0) }.sorted()
    }

    /// What no DMA mapping of an IOMMU group may use, ascending.
    public func reservedRegions(ofIOMMUGroup group: Int) -> [IOMMUReservedRegion] {
        let text = try? files.readText("\(root)/kernel/iommu_groups/\(group)/reserved_regions")
        return text?.split(separator: "\n").compactMap { IOMMUReservedRegion($0) } ?? []
    }

    /// Its BARs and its expansion ROM.
    public func regions(of address: PCIAddress) -> [PCIRegion] {
        PCIRegion.regions(text(address, "resource") ?? "")
    }

    /// The reset methods that the kernel would use, in order (reset_method).
    public func resetMethods(of address: PCIAddress) -> [String] {
        text(address, "reset_method")?.split(whereSeparator: \.isWhitespace).map(String.init) ?? []
    }

    /// The NUMA node, nil if the host does not say.
    public func numaNode(of address: PCIAddress) -> Int? { count(address, "numa_node") }

    /// The link above it, nil for a function that is none of PCI Express.
    public func link(of address: PCIAddress) -> PCILink? {
        guard let speed = text(address, "current_link_speed"), let maximum = text(address, "max_link_speed") else {
            return nil
        }
        // The kernel shows a width that it does not know as 255.
        func lanes(_ attribute: String) -> Int { count(address, attribute).flatMap { $0 < 255 ? $0 : nil } ?? 0 }
        return PCILink(
            speed: speed, width: lanes("current_link_width"), maximumSpeed: maximum,
            maximumWidth: lanes("max_link_width"))
    }

    /// How many virtual functions it could have; nil if it is no physical function.
    public func totalVirtualFunctions(of address: PCIAddress) -> Int? { count(address, "sriov_totalvfs") }

    /// Its virtual functions, ascending. Counted by their links, which no lock guards.
    public func virtualFunctions(of address: PCIAddress) -> [PCIAddress] {
        list(path(of: address)).filter { $0.hasPrefix("virtfn") }
            .compactMap { linkName(path(of: address, $0)).flatMap { PCIAddress($0) } }.sorted()
    }

    /// The physical function that it belongs to; nil if it is no virtual function.
    public func physicalFunction(of address: PCIAddress) -> PCIAddress? {
        linkName(path(of: address, "physfn")).flatMap { PCIAddress($0) }
    }

    /// What is read, nil if it is not there.
    private func presence<Value>(_ read: () throws(KernelError) -> Value) throws(KernelError) -> Value? {
        do throws(KernelError) {
            return try read()
        } catch {
            if error.errno == .noSuchFileOrDirectory { return nil }
            throw error
        }
    }

    private func list(_ path: String) -> [String] { (try? files.listDirectory(path)) ?? [] }

    /// The last component of a link's target.
    private func linkName(_ path: String) -> String? {
        guard let target = try? files.readSymbolicLink(path), let name = target.split(separator: "/").last else {
            return nil
        }
        return String(name)
    }

    /// A decimal number that is not negative.
    private func count(_ address: PCIAddress, _ attribute: String) -> Int? {
        text(address, attribute).flatMap { Int($0) }.flatMap { $0 >= 0 ? $0 : nil }
    }

    private func number<Number: FixedWidthInteger>(_ address: PCIAddress, _ attribute: String) -> Number? {
        guard let text = text(address, attribute) else { return nil }
        return text.hasPrefix("0x") ? Number(text.dropFirst(2), radix: 16) : nil
    }
}
