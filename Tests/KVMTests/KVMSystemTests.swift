import KVM
import LinuxSystem
import SystemPackage
import TestSupport
import Testing

@Suite("/dev/kvm")
struct KVMSystemTests {
    @Test(
        "a missing node, and one without permission, are named",
        arguments: [Errno.noSuchFileOrDirectory, .permissionDenied])
    func refused(errno: Errno) {
        let kernel = FakeKernel()
        kernel.install(FakeKVM(), at: "/dev/kvm")
        kernel.refuse("open", with: errno)
        let error = #expect(throws: KernelError.self) { try KVMSystem(kernel: kernel) }
        #expect(error?.errno == errno)
        #expect(error?.call == "open")
    }

    @Test("an interface of another version is refused")
    func version() {
        let kernel = FakeKernel()
        kernel.install(FakeKVM(apiVersion: 13), at: "/dev/kvm")
        let error = #expect(throws: KernelError.self) { try KVMSystem(kernel: kernel) }
        #expect(error?.errno == .notSupported)
    }

    @Test("a descriptor of something else is refused")
    func somethingElse() throws {
        let file = try openFile("/dev/null", .readWrite)
        let error = #expect(throws: KernelError.self) {
            try KVMSystem(kernel: LiveKernel(), adopting: file.duplicate())
        }
        #expect(error?.errno == .inappropriateIOCTLForDevice)
    }

    @Test(
        "what fails while a machine is made leaves no descriptor open",
        arguments: ["KVM_CREATE_VM", "KVM_CREATE_VCPU", "mmap"])
    func leaks(call: String) throws {
        let kernel = FakeKernel()
        kernel.install(FakeKVM(), at: "/dev/kvm")
        do {
            let system = try KVMSystem(kernel: kernel)
            kernel.refuse(call, with: .noMemory)
            let error = #expect(throws: KernelError.self) {
                let machine = try system.createVirtualMachine()
                try machine.createInterruptControllers()
                _ = try machine.createVCPU(0)
            }
            #expect(error?.errno == .noMemory)
            #expect(kernel.openFileCount == 1)
        }
        #expect(kernel.openFileCount == 0)
    }

    @Test("a model-specific register that the kernel does not take is an error")
    func registers() throws {
        let kernel = FakeKernel()
        kernel.install(FakeKVM(), at: "/dev/kvm")
        let machine = try KVMSystem(kernel: kernel).createVirtualMachine()
        let vcpu = try machine.createVCPU(0)
        try vcpu.setMSR(0x80f, to: 0x1ff)
        kernel.refuse("KVM_SET_MSRS", with: .invalidArgument)
        #expect(throws: KernelError.self) { try vcpu.setMSR(0x80f, to: 0x1ff) }
        #expect(throws: KernelError.self) { try machine.createVCPU(0) }
    }
}
