import Glibc
import LinuxSystem
import PCI
import SystemPackage
import TestSupport
import Testing

@testable import VFIO

/// A device of the lab, opened for this test and given back when the last reference to it goes.
///
/// The lab binds its devices to vfio-pci before it runs these tests, and names them in VFIOD_LAB_DEVICES:
/// `edu=0000:00:10.0,nvme=0000:00:12.0`.
enum LabDevice: String, Sendable {
    case edu, edu2, e1000e, nvme, xhci, igbvf

    /// Opens the device through `kernel`. The threads of a test that failed may hold it for a moment still, and a group
    /// that is open is not opened again.
    func open(_ kernel: any Kernel = LiveKernel()) throws -> VFIODevice {
        let address = try self.address
        let link = try readSymbolicLink("/sys/bus/pci/devices/\(address)/iommu_group")
        let group = try #require(link.split(separator: "/").last.flatMap { Int($0) })
        var opened: Result<VFIODevice, KernelError>?
        _ = eventually {
            opened = Result { () throws(KernelError) in
                try VFIODevice.open(address, iommuGroup: group, kernel: kernel)
            }
            if case .failure(let error) = opened { return error.errno != .resourceBusy }
            return true
        }
        return try #require(opened).get()
    }

    var address: PCIAddress {
        get throws {
            let named = getenv("VFIOD_LAB_DEVICES").map { String(cString: $0) } ?? ""
            let pair = named.split(separator: ",").first { $0.hasPrefix(rawValue + "=") }
            let text = try #require(pair?.dropFirst(rawValue.count + 1), "the lab has no \(rawValue)")
            return try #require(PCIAddress(String(text)))
        }
    }

    /// The host's interrupt line of the device, as /proc/interrupts counts it.
    var line: HostLine {
        get throws { try HostLine(of: "\(try address)") }
    }

    /// The line of the network card behind the bridge, which the host keeps.
    static func neighbourLine() throws -> HostLine { try HostLine(of: "0000:03:03.0") }
}

/// An interrupt line of the host, which devices may share.
struct HostLine: Sendable {
    let number: Int

    init(of address: String) throws {
        let text = try readText("/sys/bus/pci/devices/\(address)/irq")
        number = try #require(Int(text))
    }

    /// How often it interrupted the host.
    var count: Int {
        get throws {
            let line = try readText("/proc/interrupts").split(separator: "\n").first { row in
                row.split(separator: " ").first == "\(number):"
            }
            return line?.split(separator: " ").dropFirst().prefix { Int($0) != nil }.reduce(0) { $0 + (Int($1) ?? 0) }
                ?? 0
        }
    }

    /// Of the last hundred thousand interrupts, how many no handler took (/proc/irq/N/spurious).
    var unhandled: Int {
        get throws {
            let words = try readText("/proc/irq/\(number)/spurious").split { $0.isWhitespace }
            let place = try #require(words.firstIndex(of: "unhandled"))
            return try #require(Int(words[place + 1]))
        }
    }
}

extension VFIODevice {
    /// Maps the first page of BAR 0, as a guest sees it.
    func registers() throws -> SharedMapping {
        let bar = try region(.bar0)
        let memory = try kernel.map(raw, at: bar.offset, length: CountingProgram.pageSize)
        return SharedMapping(memory, of: self)
    }
}
