import LinuxSystem
import PCI
import SystemPackage
import TestSupport
import Testing

@testable import VFIO

/// Three functions on one bus, the last of them in an IOMMU group of its own.
@Suite("VFIO hot reset") struct VFIOHotResetTests {
    let kernel = FakeKernel()
    let vfio = FakeVFIO()
    let addresses: [PCIAddress]
    let fakes: [FakeVFIODevice]

    init() throws {
        addresses = try ["0000:03:01.0", "0000:03:02.0", "0000:03:1f.7"].map { try #require(PCIAddress($0)) }
        var configuration = FakeVFIODevice.Configuration(intxCount: 1)
        configuration.bus = 3
        fakes = addresses.map { FakeVFIODevice($0.description, configuration) }
        for (index, fake) in fakes.enumerated() { vfio.add(fake, iommuGroup: index < 2 ? 7 : 8) }
        kernel.install(vfio, at: "/dev/vfio/")
    }

    /// The first device, and both IOMMU groups, in one container.
    private func open() throws -> (device: VFIODevice, groups: [VFIOGroup]) {
        let container = try VFIOContainer(kernel)
        let groups = [try VFIOGroup(7, in: container), try VFIOGroup(8, in: container)]
        try container.setIOMMU()
        return (try groups[0].device(addresses[0]), groups)
    }

    @Test("all functions on the bus are found, whatever their number, and reset together") func together() throws {
        let (device, groups) = try open()
        #expect(try device.hotResetSet() == addresses)
        try device.hotReset(groups)
        #expect(fakes.map(\.hotResetCount) == [1, 1, 1])
    }

    @Test("a domain that has too many bits for the kernel's answer is the device's own") func wideDomain() throws {
        let wide = try #require(PCIAddress("10001:04:1f.7"))
        var configuration = FakeVFIODevice.Configuration()
        configuration.bus = 4
        vfio.add(FakeVFIODevice("10001:04:1f.7", configuration), iommuGroup: 9)
        let device = try VFIODevice.open(wide, iommuGroup: 9, kernel: kernel)
        #expect(try device.hotResetSet() == [wide])
    }

    @Test("without the IOMMU group of one of them, nothing is reset") func missing() throws {
        let (device, groups) = try open()
        let refused = KernelError("VFIO_DEVICE_PCI_HOT_RESET", on: "0000:03:01.0", .invalidArgument)
        #expect(throws: refused) { try device.hotReset(Array(groups.prefix(1))) }
        #expect(throws: refused) { try device.hotReset([]) }
        #expect(fakes.map(\.hotResetCount) == [0, 0, 0])
    }

    @Test("what the kernel refuses comes back with its request, its device and its errno") func refusals() throws {
        let (device, groups) = try open()
        // No room for none: an answer that would be asked for again for ever.
        for errno in [Errno.notPermitted, .noSpace] {
            let name = "VFIO_DEVICE_GET_PCI_HOT_RESET_INFO"
            kernel.refuse(name, with: errno)
            #expect(throws: KernelError(name, on: "0000:03:01.0", errno)) { try device.hotResetSet() }
        }
        kernel.refuse("VFIO_DEVICE_PCI_HOT_RESET", with: .ioError)
        let failed = KernelError("VFIO_DEVICE_PCI_HOT_RESET", on: "told to refuse", .ioError)
        #expect(throws: failed) { try device.hotReset(groups) }
    }
}
