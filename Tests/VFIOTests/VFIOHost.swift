import Glibc
import LinuxSystem
import TestSupport
import Testing

/// A device that the rules are run on. The lab has all of them; the fake has them with the same interrupts.
enum RuleDevice: String, CaseIterable, Sendable {
    /// INTx 1, MSI 1, MSI-X 0; no reset.
    case edu
    /// INTx 1, MSI 1, MSI-X 5.
    case e1000e
    /// INTx 1, MSI 0, MSI-X 2,048.
    case nvme
    /// INTx 1, MSI 16, MSI-X 0.
    case xhci
    /// An edu with two more functions on its bus and in its IOMMU group, all on vfio-pci.
    case shared
}

/// The registers of edu's BAR 0 that raise its interrupt and take it away (QEMU documentation, specs/edu).
enum EduRegister {
    static let raise: UInt64 = 0x60
    static let acknowledge: UInt64 = 0x64
}

/// Where the rules are run: a kernel, and what of it a rule may depend on.
struct VFIOHost: Sendable, CustomTestStringConvertible {
    let name: String
    let kernel: any Kernel
    /// Address and IOMMU group of each device.
    let places: [RuleDevice: (address: String, iommuGroup: Int)]
    /// Whether it is Linux 6.5 or later, with which MSI-X became dynamic.
    let isLinux6dot5: Bool
    /// Whether it is Linux 7.3 or later, with which every device has the index of errors.
    let isLinux7dot3: Bool
    /// Whether interrupts are remapped, so that MSI can have more than one vector on x86.
    let remapsInterrupts: Bool

    var testDescription: String { name }

    /// The fake, as a kernel from 6.5 on or before, on a host that remaps interrupts or not.
    static func fake(
        _ name: String, isLinux6dot5: Bool = true, isLinux7dot3: Bool = false, remapsInterrupts: Bool = true
    ) -> VFIOHost {
        let kernel = FakeKernel()
        let vfio = FakeVFIO(hostVectors: 392)
        kernel.install(vfio, at: "/dev/vfio/")
        var places: [RuleDevice: (address: String, iommuGroup: Int)] = [:]
        for (number, device) in RuleDevice.allCases.enumerated() {
            var configuration = device.configuration
            configuration.isLinux6dot5 = isLinux6dot5
            configuration.isLinux7dot3 = isLinux7dot3
            if !remapsInterrupts && device == .xhci { configuration.allocatable = 1 }
            let address = "0000:00:1\(number).0"
            vfio.add(FakeVFIODevice(address, configuration), iommuGroup: 20 + number)
            for other in 1..<(device == .shared ? 3 : 1) {
                vfio.add(FakeVFIODevice("0000:00:1\(number).\(other)", configuration), iommuGroup: 20 + number)
            }
            places[device] = (address, 20 + number)
        }
        return VFIOHost(
            name: name, kernel: kernel, places: places, isLinux6dot5: isLinux6dot5, isLinux7dot3: isLinux7dot3,
            remapsInterrupts: remapsInterrupts)
    }

    /// The lab's host, as VFIOD_LAB_DEVICES names its devices: `edu=0000:00:10.0,nvme=0000:00:12.0`.
    static func live() throws -> VFIOHost {
        let named = getenv("VFIOD_LAB_DEVICES").map { String(cString: $0) } ?? ""
        var places: [RuleDevice: (address: String, iommuGroup: Int)] = [:]
        for pair in named.split(separator: ",") {
            let parts = pair.split(separator: "=").map(String.init)
            guard parts.count == 2, let device = RuleDevice(rawValue: parts[0]) else { continue }
            let link = try readSymbolicLink("/sys/bus/pci/devices/\(parts[1])/iommu_group")
            let group = try #require(link.split(separator: "/").last.flatMap { Int($0) })
            places[device] = (parts[1], group)
        }
        let unsafe = try readText("/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts")
        let release = try readText("/proc/sys/kernel/osrelease").split(separator: ".").prefix(2).compactMap { Int($0) }
        return VFIOHost(
            name: "live", kernel: LiveKernel(), places: places,
            isLinux6dot5: !release.lexicographicallyPrecedes([6, 5]),
            isLinux7dot3: !release.lexicographicallyPrecedes([7, 3]), remapsInterrupts: unsafe == "N")
    }
}

extension RuleDevice {
    /// What the fake says of it.
    var configuration: FakeVFIODevice.Configuration {
        switch self {
        case .shared:
            var configuration = RuleDevice.edu.configuration
            configuration.bus = 3
            return configuration
        case .edu:
            var configuration = FakeVFIODevice.Configuration(intxCount: 1, msiCount: 1)
            configuration.canReset = false
            configuration.isPCIExpress = false
            configuration.bars[0] = [UInt8](repeating: 0, count: 0x100)
            configuration.onBARWrite = { device, _, offset, _ in
                if let asserted = [EduRegister.raise: true, EduRegister.acknowledge: false][UInt64(offset)] {
                    device.setLine(asserted: asserted)
                }
            }
            return configuration
        case .e1000e: return FakeVFIODevice.Configuration(intxCount: 1, msiCount: 1, msixCount: 5)
        case .nvme: return FakeVFIODevice.Configuration(intxCount: 1, msixCount: 2048)
        case .xhci: return FakeVFIODevice.Configuration(intxCount: 1, msiCount: 16)
        }
    }
}
