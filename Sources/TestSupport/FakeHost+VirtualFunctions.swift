internal import LinuxSystem
public import PCI
internal import SystemPackage

// SR-IOV, as drivers/pci/iov.c has it.
extension FakeHost {
    /// Makes a function a physical one, which can have up to seven virtual functions, each an IOMMU group of its own.
    public func makePhysical(_ address: PCIAddress) {
        set(address, "sriov_totalvfs", "7\n")
        set(address, "sriov_numvfs", "0\n")
        set(address, "sriov_drivers_autoprobe", "1\n")
    }

    /// The virtual function with this number, from 0, of those that ``makePhysical(_:)`` allows.
    public static func virtualFunction(_ number: Int) -> PCIAddress? { PCIAddress("0000:00:1\(number + 1).7") }

    func setVirtualFunctions(of address: PCIAddress, _ value: String, _ path: String) throws(KernelError) {
        let names = (try? listDirectory(tree.path(FakeHost.device(address))).filter { $0.hasPrefix("virtfn") }) ?? []
        guard let count = Int(value.filter(\.isNumber)) else { throw KernelError("write", on: path, .invalidArgument) }
        guard count <= 7 else { throw KernelError("write", on: path, .outOfRange) }
        if count == names.count { return }
        // Without a driver there is nobody who could make them.
        guard driver(of: address) != nil || count == 0 else {
            throw KernelError("write", on: path, .noSuchFileOrDirectory)
        }
        // vfio-pci makes some where its parameter says so (drivers/vfio/pci/vfio_pci.c, vfio_pci_sriov_configure).
        let isOfVFIO = driver(of: address) == "vfio-pci"
        if isOfVFIO, count > 0, content("/sys/module/vfio_pci/parameters/enable_sriov") != "Y\n" {
            throw KernelError("write", on: path, .noSuchFileOrDirectory)
        }
        guard count == 0 || names.isEmpty else { throw KernelError("write", on: path, .resourceBusy) }
        for name in names {
            let link = "\(FakeHost.device(address))/\(name)"
            let function = (try? readSymbolicLink(tree.path(link)))?.split(separator: "/").last
            if let function = function.flatMap({ PCIAddress(String($0)) }) { removeFunction(function) }
            remove(link)
        }
        for number in 0..<count {
            guard let function = FakeHost.virtualFunction(number) else { continue }
            addFunction(function, device: 0x10ca, iommuGroup: 100 + number)
            makeVirtual(function, of: address, number: number)
            // vfio-pci keeps the functions that it makes from other drivers (vfio_pci_bus_notifier), and an override is
            // probed for in any case (pci_device_can_probe, drivers/pci/pci-driver.c).
            if isOfVFIO {
                set(function, "driver_override", "vfio-pci\n")
                try probe("\(function)", path)
            } else if content("\(FakeHost.device(address))/sriov_drivers_autoprobe") == "1\n" {
                try probe("\(function)", path)
            }
        }
        set(address, "sriov_numvfs", "\(count)\n")
    }
}
