internal import LinuxSystem
public import PCI

extension FakeHost {
    /// Adds a function with all its attributes. `classCode` has 24 bits.
    public func addFunction(
        _ address: PCIAddress, vendor: UInt16 = 0x8086, device: UInt16 = 0x10d3, classCode: UInt32 = 0x020000,
        driver: String? = nil, iommuGroup: Int? = nil, config: [UInt8] = FakeConfigSpace().bytes
    ) {
        let directory = FakeHost.device(address)
        let attributes = [
            "vendor": "0x\(hex(UInt32(vendor), 4))\n", "device": "0x\(hex(UInt32(device), 4))\n",
            "class": "0x\(hex(classCode, 6))\n", "revision": "0x02\n", "subsystem_vendor": "0x1af4\n",
            "subsystem_device": "0x1100\n", "driver_override": "(null)\n", "power/control": "on\n",
            "enable": driver == nil ? "0\n" : "1\n", "reset_method": "flr pm\n", "reset": "", "numa_node": "-1\n",
        ]
        for (name, content) in attributes { set("\(directory)/\(name)", content) }
        set("\(directory)/config", bytes: FakeHost.withIDs(config, vendor, device))
        link("/sys/bus/pci/devices/\(address)", to: "../../../devices/pci0000:00/\(address)")
        if let iommuGroup {
            link("\(directory)/iommu_group", to: "../../../kernel/iommu_groups/\(iommuGroup)")
            link(
                "/sys/kernel/iommu_groups/\(iommuGroup)/devices/\(address)",
                to: "../../../../devices/pci0000:00/\(address)")
        }
        if let driver { link("\(directory)/driver", to: "../../../bus/pci/drivers/\(driver)") }
        sendUevent("add", address)
        if driver != nil { sendUevent("bind", address) }
    }

    /// Puts a function behind a bridge on the root bus, which must be there.
    public func put(_ address: PCIAddress, behind bridge: PCIAddress) {
        link("/sys/bus/pci/devices/\(address)", to: "../../../devices/pci0000:00/\(bridge)/../\(address)")
    }

    /// Takes all ways to reset a function away.
    public func removeResets(of address: PCIAddress) {
        for attribute in ["reset_method", "reset"] { remove("\(FakeHost.device(address))/\(attribute)") }
    }

    /// The bytes of an attribute of a function; none if it is not there.
    public func bytes(_ address: PCIAddress, _ attribute: String) -> [UInt8] {
        (try? readFile(tree.path("\(FakeHost.device(address))/\(attribute)"))) ?? []
    }

    /// What a function's configuration space reads as from now on.
    public func setConfig(_ address: PCIAddress, _ bytes: [UInt8]) {
        set("\(FakeHost.device(address))/config", bytes: bytes)
    }

    private static func withIDs(_ config: [UInt8], _ vendor: UInt16, _ device: UInt16) -> [UInt8] {
        guard config.count > 4, config.prefix(4).allSatisfy({ $0 == 0 }) else { return config }
        let ids = [vendor, device].flatMap { [UInt8(truncatingIfNeeded: $0), UInt8(truncatingIfNeeded: $0 >> 8)] }
        return ids + config.dropFirst(4)
    }

    /// Removes a function with all its attributes.
    public func removeFunction(_ address: PCIAddress) {
        if let link = try? readSymbolicLink(tree.path("\(FakeHost.device(address))/iommu_group")),
            let group = link.split(separator: "/").last
        {
            remove("/sys/kernel/iommu_groups/\(group)/devices/\(address)")
        }
        remove("/sys/bus/pci/devices/\(address)")
        tree.removeAll(FakeHost.device(address))
        sendUevent("remove", address)
    }

    /// Makes a function a virtual function of another, as the kernel does after it has added it.
    public func makeVirtual(_ address: PCIAddress, of physical: PCIAddress, number: Int) {
        link("\(FakeHost.device(physical))/virtfn\(number)", to: "../\(address)")
        link("\(FakeHost.device(address))/physfn", to: "../\(physical)")
        setConfig(address, [0xff, 0xff, 0xff, 0xff] + bytes(address, "config").dropFirst(4))
        sendUevent("change", address)
    }

    /// Writes an attribute of a function, whatever the kernel would say.
    public func set(_ address: PCIAddress, _ attribute: String, _ content: String) {
        set("\(FakeHost.device(address))/\(attribute)", content)
    }

    /// Adds a disk on a function, and nodes in sysfs that lead to it.
    public func addDisk(_ name: String, number: String, on address: PCIAddress) {
        addBlock(name, number, "devices/pci0000:00/\(address)/virtio0/block/\(name)")
    }

    /// Adds a partition of a disk of ``addDisk(_:number:on:)``.
    public func addPartition(_ name: String, number: String, of disk: String, on address: PCIAddress) {
        let path = "devices/pci0000:00/\(address)/virtio0/block/\(disk)/\(name)"
        addBlock(name, number, path)
        set("/sys/\(path)/partition", "1\n")
    }

    /// Adds a device mapper or MD device over others.
    public func addMapped(_ name: String, number: String, over slaves: [String]) {
        addBlock(name, number, "devices/virtual/block/\(name)")
        for slave in slaves {
            set("/sys/devices/virtual/block/\(name)/slaves/\(slave)/size", "0\n")
        }
    }

    /// Adds a network interface on a function, below the interfaces `uppers`.
    public func addInterface(_ name: String, on address: PCIAddress, below uppers: [String] = []) {
        let path = "devices/pci0000:00/\(address)/net/\(name)"
        set("/sys/\(path)/mtu", "1500\n")
        link("/sys/class/net/\(name)", to: "../../\(path)")
        for upper in uppers {
            set("/sys/\(path)/upper_\(upper)/mtu", "1500\n")
            set("/sys/devices/virtual/net/\(upper)/mtu", "1500\n")
            link("/sys/class/net/\(upper)", to: "../../devices/virtual/net/\(upper)")
        }
    }

    /// Adds a process with open files.
    public func addProcess(_ processID: Int, command: String, open targets: [String]) {
        set("/proc/\(processID)/comm", command + "\n")
        for (descriptor, target) in targets.enumerated() { link("/proc/\(processID)/fd/\(descriptor)", to: target) }
    }

    private func addBlock(_ name: String, _ number: String, _ path: String) {
        set("/sys/\(path)/dev", number + "\n")
        link("/sys/class/block/\(name)", to: "../../\(path)")
        link("/sys/dev/block/\(number)", to: "../../\(path)")
    }
}
