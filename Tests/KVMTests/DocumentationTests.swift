import InterruptSources
import KVM
import KVMInterrupts
import LinuxSystem
import PCI
import TestSupport
import Testing
import VFIO
import VFIOInterrupts

/// What docs/interrupts.md shows, to the letter.
private func passThrough(
    _ device: VFIODevice, to sink: KVMInterruptSink, pin: Int
) throws -> EmulatedInterrupts {
    let vfio = VFIOInterrupts(device)
    let interrupts = try DeviceInterrupts(
        InterruptType.allCases.compactMap { try vfio.source($0) }, sink: sink, pin: pin)
    let region = try device.region(.configuration)
    let space = ConfigSpace(try (0..<256).map { try region.load(UInt8.self, at: $0) })
    var (msi, msix) = (EmulatedMSI?.none, EmulatedMSIX?.none)
    for capability in space.capabilities {
        let position = UInt8(capability.offset)
        if capability.id == .msi { msi = try EmulatedMSI(copying: space.bytes.span, at: position) }
        if capability.id == .msix { msix = try EmulatedMSIX(copying: space.bytes.span, at: position) }
    }
    return try EmulatedInterrupts(interrupts, msi: msi, msix: msix)
}

@Suite("Documentation")
struct DocumentationTests {
    @Test("the example joins a device to a machine, and its guest brings MSI-X up")
    func example() throws {
        let kernel = FakeKernel()
        let vfio = FakeVFIO()
        var configuration = FakeVFIODevice.Configuration(intxCount: 1, msiCount: 1, msixCount: 4)
        var space = FakeConfigSpace()
        space.addMSI(encoding: 0)
        space.addMSIX(vectors: 4)
        configuration.configuration = space.bytes
        let fake = FakeVFIODevice("0000:00:10.0", configuration)
        vfio.add(fake, iommuGroup: 7)
        kernel.install(vfio, at: "/dev/vfio/")
        kernel.install(FakeKVM(), at: "/dev/kvm")
        let address = try #require(PCIAddress("0000:00:10.0"))
        let device = try VFIODevice.open(address, iommuGroup: 7, kernel: kernel)
        try device.setBusMaster(true)
        let machine = try KVMSystem(kernel: kernel).createVirtualMachine()
        try machine.createInterruptControllers()
        let guest = try passThrough(device, to: KVMInterruptSink(machine), pin: 16)
        #expect(guest.interrupts.workingType == .legacy)

        // MSI-X is the second capability, at 0x50; its table is at the start of BAR 0.
        try guest.writeConfiguration([0x00, 0xc0].span, at: 0x52)
        try guest.write([0, 0, 0xe0, 0xfe, 0, 0, 0, 0].span, bar: 0, at: 32)
        try guest.write([0x41, 0, 0, 0, 0, 0, 0, 0].span, bar: 0, at: 40)
        #expect(fake.wiredVectors.isEmpty)
        kernel.forgetCalls()
        try guest.writeConfiguration([0x00, 0x80].span, at: 0x52)
        #expect(guest.interrupts.workingType == .msix)
        #expect(fake.wiredVectors == [2])
        #expect(kernel.calls.count { $0 == "KVM_SET_GSI_ROUTING" } == 1)
    }
}
