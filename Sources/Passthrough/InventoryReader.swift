internal import LinuxSystem
internal import Logging
internal import PCI

/// What sysfs says of a function without waiting for it.
struct DeviceAttributes: Hashable, Sendable {
    let function: PCIFunction
    let names: PCINames
    /// From the function on a root bus to itself.
    let route: [PCIAddress]
    /// A driver that is still being asked shows too.
    let driver: String?
    let iommuGroup: Int?
    let numaNode: Int?
    let regions: [PCIRegion]
    let resetMethods: [String]
    /// Nil if it is no physical function.
    let totalVirtualFunctions: Int?
    /// Nil if it is no virtual function.
    let physicalFunction: PCIAddress?
}

/// What was at an address when somebody looked.
struct DeviceReading: Sendable {
    /// Of two readings the one with the higher number was begun later. Whatever changed after the later one began is
    /// told by an event of its own, so the earlier one has nothing to add.
    let number: UInt64
    let address: PCIAddress
    /// Nil if no function is there.
    let attributes: DeviceAttributes?
}

/// Reads functions for the inventory. Blocks for as long as files take, but waits for no device.
final class InventoryReader: Sendable {
    private let sysfs: Sysfs
    private let logger: Logger
    private let readings = Lock<UInt64>(0)

    init(_ sysfs: Sysfs, logger: Logger) {
        (self.sysfs, self.logger) = (sysfs, logger)
    }

    /// All functions of the host, as libpci finds them.
    func addresses() -> [PCIAddress] {
        do throws(PCILibraryError) {
            return try PCILibrary(sysfs: sysfs.root).addresses()
        } catch {
            // It gives up on the whole bus for one entry that is no address.
            logger.warning("libpci cannot scan the bus: \(error)")
            return sysfs.addresses()
        }
    }

    func slots() -> [PCISlot] { sysfs.slots() }

    /// Looks at an address.
    func read(_ address: PCIAddress) -> DeviceReading {
        let number = readings.withLock { number in
            number += 1
            return number
        }
        guard let function = sysfs.function(address) else {
            return DeviceReading(number: number, address: address, attributes: nil)
        }
        return DeviceReading(
            number: number, address: address,
            attributes: DeviceAttributes(
                function: function, names: names(of: function), route: sysfs.route(to: address),
                driver: sysfs.driver(of: address), iommuGroup: sysfs.iommuGroup(of: address),
                numaNode: sysfs.numaNode(of: address), regions: sysfs.regions(of: address),
                resetMethods: sysfs.resetMethods(of: address),
                totalVirtualFunctions: sysfs.totalVirtualFunctions(of: address),
                physicalFunction: sysfs.physicalFunction(of: address)))
    }

    private func names(of function: PCIFunction) -> PCINames {
        do throws(PCILibraryError) {
            return try PCILibrary.names(of: [function]).first ?? PCINames(numbersOf: function)
        } catch {
            logger.warning("pci.ids cannot be used: \(error)")
            return PCINames(numbersOf: function)
        }
    }
}

extension PCINames {
    /// For a host without pci.ids.
    init(numbersOf function: PCIFunction) {
        self.init(
            device: "Vendor \(hex(UInt32(function.vendorID), 4)) Device \(hex(UInt32(function.deviceID), 4))",
            kind: "Class \(hex(function.classCode >> 8, 4))")
    }
}
