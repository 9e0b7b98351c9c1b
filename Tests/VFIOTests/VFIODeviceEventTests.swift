import InterruptSources
import LinuxSystem
import SystemPackage
import TestSupport
import Testing
import VFIO
import VFIOInterrupts

@Suite("Errors and requests of a VFIO device")
struct VFIODeviceEventTests {
    @Test("which events a device tells of", arguments: [true, false], [true, false])
    func which(_ isPCIExpress: Bool, isLinux7dot3: Bool) throws {
        var configuration = FakeVFIODevice.Configuration(intxCount: 1)
        (configuration.isPCIExpress, configuration.isLinux7dot3) = (isPCIExpress, isLinux7dot3)
        let interrupts = VFIOInterrupts(try DeviceSetup(configuration).open())
        #expect(try interrupts.tells(of: .request))
        #expect(try interrupts.tells(of: .error) == (isPCIExpress || isLinux7dot3))
    }

    @Test("each signals its own eventfd, beside every type and while it changes", arguments: InterruptType.allCases)
    func beside(_ type: InterruptType) throws {
        let setup = DeviceSetup(.init(intxCount: 1, msiCount: 1, msixCount: 4))
        let interrupts = VFIOInterrupts(try setup.open())
        let (error, request) = (try EventFD(), try EventFD())
        try interrupts.join(.error, to: error)
        let source = try #require(try interrupts.source(type))
        let group = try InterruptSourceGroup(source: source, sink: nil)
        try group.enable()
        try interrupts.join(.request, to: request)
        #expect(setup.fake.askBack())
        #expect(error.drain() == 0 && request.drain() == 1)
        try group.disable()
        #expect(setup.fake.reportError())
        #expect(error.drain() == 1 && request.drain() == 0)
        try group.enable()
        try interrupts.part(.error)
        try interrupts.part(.error)
        #expect(!setup.fake.reportError())
        #expect(setup.fake.askBack())
        try group.trigger(0)
        let notifier = try #require(try group.notifier(0))
        #expect(error.drain() == 0 && request.drain() == 1 && notifier.drain() == 1)
    }

    @Test("a second eventfd takes the place of the first, and the device's end parts both")
    func replaced() throws {
        let setup = DeviceSetup(.init(intxCount: 1))
        let (first, second) = (try EventFD(), try EventFD())
        do {
            let interrupts = VFIOInterrupts(try setup.open())
            try interrupts.join(.request, to: first)
            try interrupts.join(.request, to: second)
            setup.fake.askBack()
            #expect(first.drain() == 0 && second.drain() == 1)
        }
        #expect(setup.kernel.openFileCount == 0)
        #expect(!setup.fake.askBack())
    }

    @Test("what the kernel refuses keeps its errno, and changes nothing")
    func refused() throws {
        var configuration = FakeVFIODevice.Configuration(intxCount: 1)
        configuration.isPCIExpress = false
        let setup = DeviceSetup(configuration)
        let interrupts = VFIOInterrupts(try setup.open())
        let eventfd = try EventFD()
        let absent = KernelError("VFIO_DEVICE_SET_IRQS", on: "0000:00:10.0 error", .invalidArgument)
        #expect(throws: InterruptError.kernel(absent)) { try interrupts.join(.error, to: eventfd) }
        #expect(throws: InterruptError.kernel(absent)) { try interrupts.part(.error) }
        try interrupts.join(.request, to: eventfd)
        setup.kernel.refuse("VFIO_DEVICE_SET_IRQS", with: .noMemory)
        let refused = KernelError("VFIO_DEVICE_SET_IRQS", on: "told to refuse", .noMemory)
        #expect(throws: InterruptError.kernel(refused)) { try interrupts.part(.request) }
        #expect(setup.fake.askBack())
        setup.kernel.refuse("VFIO_DEVICE_GET_IRQ_INFO", with: .ioError)
        #expect(throws: InterruptError.self) { try interrupts.tells(of: .request) }
    }
}
