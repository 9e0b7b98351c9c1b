import CLinux
import LinuxSystem
import PCI
import SystemPackage
import TestSupport
import Testing
import VFIO

/// A fake host with one device at 0000:00:10.0 in IOMMU group 7.
struct DeviceSetup {
    static let address = PCIAddress("0000:00:10.0")
    let kernel = FakeKernel()
    let vfio: FakeVFIO
    let fake: FakeVFIODevice

    init(_ configuration: FakeVFIODevice.Configuration, vfio: FakeVFIO = FakeVFIO()) {
        self.vfio = vfio
        fake = FakeVFIODevice("0000:00:10.0", configuration)
        vfio.add(fake, iommuGroup: 7)
        kernel.install(vfio, at: "/dev/vfio/")
    }

    func open() throws -> VFIODevice {
        try VFIODevice.open(try #require(DeviceSetup.address), iommuGroup: 7, kernel: kernel)
    }
}

@Suite("VFIO container, group and device")
struct VFIODeviceTests {
    @Test("a device is opened in the kernel's order and closed with its last reference")
    func openOrder() throws {
        let setup = DeviceSetup(.init(intxCount: 1, msiCount: 1))
        do {
            let device = try setup.open()
            #expect(
                setup.kernel.calls == [
                    "open", "VFIO_GET_API_VERSION", "VFIO_CHECK_EXTENSION", "open", "VFIO_GROUP_GET_STATUS",
                    "VFIO_GROUP_SET_CONTAINER", "VFIO_SET_IOMMU", "VFIO_GROUP_GET_DEVICE_FD",
                ])
            let info = try device.info()
            #expect(info.canReset && info.isPCI && info.regionCount == 9 && info.irqCount == 5)
            try device.reset()
            #expect(setup.fake.resetCount == 1)
            #expect(setup.kernel.openFileCount == 3)
            let busy = KernelError("open", on: "/dev/vfio/7", .resourceBusy)
            #expect(throws: busy) { try setup.open() }
            withExtendedLifetime(device) {}
        }
        #expect(setup.kernel.openFileCount == 0)
        _ = try setup.open()
    }

    @Test("each refused call keeps its request, what it was for, and its errno")
    func refusals() throws {
        let subjects = [
            "open": "told to refuse", "VFIO_GET_API_VERSION": "told to refuse", "VFIO_SET_IOMMU": "told to refuse",
            "VFIO_GROUP_GET_STATUS": "told to refuse", "VFIO_GROUP_SET_CONTAINER": "told to refuse",
            "VFIO_GROUP_GET_DEVICE_FD": "told to refuse", "VFIO_CHECK_EXTENSION": "told to refuse",
        ]
        for (call, subject) in subjects {
            let setup = DeviceSetup(.init(intxCount: 1))
            setup.kernel.refuse(call, with: .ioError)
            #expect(throws: KernelError(call, on: subject, .ioError)) { try setup.open() }
            #expect(setup.kernel.openFileCount == 0)
        }
    }

    @Test("a host that cannot give the device away says why")
    func notAvailable() throws {
        let setup = DeviceSetup(.init(intxCount: 1))
        setup.vfio.setViable(false, iommuGroup: 7)
        let notViable = KernelError("VFIO_GROUP_GET_STATUS", on: "/dev/vfio/7: not viable", .notPermitted)
        #expect(throws: notViable) { try setup.open() }

        let unsafe = DeviceSetup(.init(intxCount: 1), vfio: FakeVFIO(hasInterruptRemapping: false))
        let noRemapping = KernelError("VFIO_SET_IOMMU", on: "/dev/vfio/vfio", .notPermitted)
        #expect(throws: noRemapping) { try unsafe.open() }

        let strange = DeviceSetup(.init(intxCount: 1), vfio: FakeVFIO(apiVersion: 1))
        let version = KernelError("VFIO_GET_API_VERSION", on: "/dev/vfio/vfio: version 1", .notSupported)
        #expect(throws: version) { try strange.open() }

        let absent = KernelError("open", on: "/dev/vfio/vfio", .noSuchFileOrDirectory)
        #expect(throws: absent) { try VFIOContainer(FakeKernel()) }
        let address = try #require(DeviceSetup.address)
        #expect(throws: KernelError.self) {
            try VFIODevice.open(address, iommuGroup: 8, kernel: DeviceSetup(.init()).kernel)
        }
        let other = try #require(PCIAddress("0000:00:1f.7"))
        let unknown = KernelError("VFIO_GROUP_GET_DEVICE_FD", on: "0000:00:1f.7", Errno(rawValue: 19))
        #expect(throws: unknown) {
            try VFIODevice.open(other, iommuGroup: 7, kernel: DeviceSetup(.init()).kernel)
        }
    }

    @Test("a device without a reset refuses one by name")
    func noReset() throws {
        var configuration = FakeVFIODevice.Configuration(intxCount: 1)
        configuration.canReset = false
        let device = try DeviceSetup(configuration).open()
        #expect(try device.info().canReset == false)
        let refused = KernelError("VFIO_DEVICE_RESET", on: "0000:00:10.0", .invalidArgument)
        #expect(throws: refused) { try device.reset() }
    }

    @Test("registers are read and written in one access of their width, little-endian")
    func registers() throws {
        var configuration = FakeVFIODevice.Configuration(intxCount: 1)
        configuration.bars[0] = Array(0..<64)
        let setup = DeviceSetup(configuration)
        let bar = try setup.open().region(.bar0)
        #expect(bar.size == 64 && bar.isReadable && bar.isWritable && !bar.isMappable)
        #expect(try bar.load(UInt8.self, at: 63) == 63)
        #expect(try bar.load(UInt16.self, at: 2) == 0x0302)
        #expect(try bar.load(UInt32.self, at: 4) == 0x0706_0504)
        #expect(try bar.load(UInt64.self, at: 56) == 0x3f3e_3d3c_3b3a_3938)
        setup.kernel.forgetCalls()
        try bar.store(UInt32(0xaabb_ccdd), at: 8)
        #expect(setup.kernel.calls == ["pwrite"])
        #expect(setup.fake.bar(0)[8..<12] == [0xdd, 0xcc, 0xbb, 0xaa])
    }

    @Test("bytes are read and written as they stand, whatever their number and alignment")
    func bytes() throws {
        var configuration = FakeVFIODevice.Configuration(msiCount: 1)
        configuration.bars[0] = Array(0..<64)
        let setup = DeviceSetup(configuration)
        let bar = try setup.open().region(.bar0)
        #expect(try bar.read(at: 1, count: 5) == [1, 2, 3, 4, 5])
        #expect(try bar.read(at: 0, count: 64) == Array(0..<64))
        try bar.write([9, 8, 7], at: 61)
        #expect(Array(setup.fake.bar(0).suffix(4)) == [60, 9, 8, 7])
        let calls = setup.kernel.calls
        for (position, count): (UInt64, Int) in [(64, 1), (63, 2), (.max, 1), (0, 0), (0, 65), (1, .max), (0, -1)] {
            #expect(throws: KernelError.self) { try bar.read(at: position, count: count) }
        }
        #expect(throws: KernelError.self) { try bar.write([1, 2], at: 63) }
        #expect(throws: KernelError.self) { try bar.write([], at: 0) }
        #expect(setup.kernel.calls == calls)
        setup.kernel.refuse("pread", with: .ioError)
        #expect(throws: KernelError("pread", on: "told to refuse", .ioError)) {
            try bar.read(at: 0, count: 4)
        }
    }

    @Test("an access outside the region or across its own size reaches nothing")
    func registerBounds() throws {
        var configuration = FakeVFIODevice.Configuration(intxCount: 1)
        configuration.bars[0] = Array(0..<64)
        let setup = DeviceSetup(configuration)
        let device = try setup.open()
        let bar = try device.region(.bar0)
        let none = try device.region(.bar3)
        setup.kernel.forgetCalls()
        for position: UInt64 in [61, 62, 63, 64, 1, .max, .max - 3, 1 << 40] {
            #expect(throws: KernelError.self) { try bar.load(UInt32.self, at: position) }
            #expect(throws: KernelError.self) { try bar.store(UInt32(1), at: position) }
        }
        #expect(throws: KernelError.self) { try none.load(UInt8.self, at: 0) }
        #expect(throws: KernelError.self) { try bar.load(UInt128.self, at: 0) }
        #expect(setup.kernel.calls.isEmpty)
    }

    @Test("bus mastering is one bit of Command, and is off after open")
    func busMaster() throws {
        var configuration = FakeVFIODevice.Configuration(msiCount: 1)
        configuration.configuration[4] = 0x02
        let setup = DeviceSetup(configuration)
        let device = try setup.open()
        try device.setBusMaster(true)
        #expect(setup.fake.command == 0x06)
        setup.kernel.forgetCalls()
        try device.setBusMaster(true)
        #expect(setup.kernel.calls.contains("pwrite") == false)
        try device.setBusMaster(false)
        #expect(setup.fake.command == 0x02)
    }

    @Test("a message needs bus mastering, the loopback does not")
    func messagesNeedBusMaster() throws {
        let setup = DeviceSetup(.init(msiCount: 1))
        let device = try setup.open()
        let eventfd = try EventFD()
        #expect(try device.setTriggers(.msi, [eventfd]) == .done)
        setup.fake.raise(0)
        #expect(eventfd.drain() == 0)
        try device.trigger(.msi, first: 0, count: 1)
        #expect(eventfd.drain() == 1)
        try device.setBusMaster(true)
        setup.fake.raise(0)
        #expect(eventfd.drain() == 1)
    }

    @Test("Interrupt Status follows the line, and a line that Command disables is not asserted")
    func interruptStatus() throws {
        let setup = DeviceSetup(.init(intxCount: 1))
        let device = try setup.open()
        #expect(try device.isInterruptAsserted() == false)
        setup.fake.setLine(asserted: true)
        #expect(try device.isInterruptAsserted())
        let configuration = try device.region(.configuration)
        try configuration.store(UInt16(PCI_COMMAND_INTX_DISABLE), at: UInt64(PCI_COMMAND))
        #expect(try device.isInterruptAsserted() == false)
        try configuration.store(UInt16(0), at: UInt64(PCI_COMMAND))
        #expect(try device.isInterruptAsserted())
    }

    @Test("SET_IRQS keeps its three outcomes apart")
    func outcomes() throws {
        var configuration = FakeVFIODevice.Configuration(msiCount: 16)
        configuration.allocatable = 2
        let device = try DeviceSetup(configuration).open()
        let eventfds = try (0..<16).map { _ in try EventFD() }
        #expect(try device.setTriggers(.msi, eventfds) == .available(2))
        #expect(try device.setTriggers(.msi, Array(eventfds.prefix(2))) == .done)
        let refused = KernelError("VFIO_DEVICE_SET_IRQS", on: "0000:00:10.0 intx", .invalidArgument)
        #expect(throws: refused) { try device.setTriggers(.intx, [eventfds.first]) }
        try device.disableTriggers(.msi)
        #expect(throws: KernelError.self) { try device.disableTriggers(.msi) }
    }

    @Test("vectors that no index can have never reach the kernel")
    func hostileRanges() throws {
        let setup = DeviceSetup(.init(msixCount: 4))
        let device = try setup.open()
        setup.kernel.forgetCalls()
        for (first, count) in [(-1, 1), (0, 0), (0, -1), (Int.max, 1), (0, Int.max), (1 << 32, 1)] {
            #expect(throws: KernelError.self) { try device.trigger(.msix, first: first, count: count) }
        }
        #expect(throws: KernelError.self) { try device.setTriggers(.msix, first: Int.min, [nil]) }
        #expect(setup.kernel.calls.isEmpty)
    }

    @Test("a kernel that fills in nothing gives a device that has nothing")
    func emptyAnswers() throws {
        let kernel = FakeKernel()
        kernel.install(SilentNode(), at: "/dev/vfio/")
        let device = try VFIODevice.open(try #require(DeviceSetup.address), iommuGroup: 1, kernel: kernel)
        let info = try device.info()
        #expect(!info.canReset && !info.isPCI && info.regionCount == 0 && info.irqCount == 0)
        #expect(try device.irqInfo(.msix).count == 0)
        let region = try device.region(.configuration)
        #expect(region.size == 0)
        #expect(throws: KernelError.self) { try device.isInterruptAsserted() }
    }
}

/// A VFIO whose requests succeed and say nothing.
private struct SilentNode: FakeNode {
    func open(_ path: String, _ mode: OpenMode) throws(KernelError) -> any FakeFile { SilentFile() }
}

private final class SilentFile: FakeFile {
    func ioctl(_ request: UInt, value: UInt, kernel: FakeKernel) throws(KernelError) -> CInt {
        request == CLINUX_VFIO_CHECK_EXTENSION ? 1 : 0
    }

    func ioctl(_ request: UInt, bytes: inout [UInt8], kernel: FakeKernel) throws(KernelError) -> CInt {
        if request == CLINUX_VFIO_GROUP_GET_STATUS { bytes[4] = 1 }
        if request == CLINUX_VFIO_GROUP_GET_DEVICE_FD { return try kernel.descriptor(for: SilentFile()).release() }
        return 0
    }
}
