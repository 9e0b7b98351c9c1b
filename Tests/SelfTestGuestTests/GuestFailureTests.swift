import Glibc
import KVM
import LinuxSystem
import SelfTestProtocol
import SystemPackage
import TestSupport
import Testing

@testable import SelfTestGuest

@Suite("What the self-test guest says when it cannot be made")
struct GuestFailureTests {
    private func counters() throws -> OwnedDescriptor {
        let counters = try GuestCounters(slots: 1)
        return OwnedDescriptor(adopting: dup(counters.descriptor))
    }

    @Test(
        "each step that KVM refuses is named, with its errno, and leaves nothing open",
        arguments: [
            ("KVM_CREATE_VM", "make a virtual machine"), ("KVM_CREATE_IRQCHIP", "make its interrupt controllers"),
            ("KVM_SET_USER_MEMORY_REGION", "give it memory"), ("KVM_GET_SUPPORTED_CPUID", "make its virtual CPUs"),
            ("KVM_CREATE_VCPU", "make its virtual CPUs"), ("mmap", "make its virtual CPUs"),
            ("KVM_SET_CPUID2", "make its virtual CPUs"), ("KVM_SET_SREGS", "make its virtual CPUs"),
            ("KVM_SET_REGS", "make its virtual CPUs"), ("KVM_SET_MSRS", "make its virtual CPUs"),
            ("KVM_SET_MP_STATE", "make its virtual CPUs"), ("KVM_SET_IRQCHIP", "set its IOAPIC"),
        ])
    func steps(call: String, step: String) throws {
        let kernel = FakeKernel()
        kernel.install(FakeKVM(), at: "/dev/kvm")
        do {
            let system = try KVMSystem(kernel: kernel)
            kernel.refuse(call, with: .noMemory)
            let memory = try counters()
            let failure = #expect(throws: GuestFailure.self) {
                _ = try GuestMachine(system, .level, slots: 1, fault: nil, counters: try memory.duplicate())
            }
            #expect(failure?.step == step)
            #expect(failure?.call.hasPrefix(call) == true)
            #expect(failure?.kernelError.errno == .noMemory)
        }
        #expect(kernel.openFileCount == 0)
    }

    @Test("counters that could shrink under the guest, or are too small, are refused")
    func memory() throws {
        let kernel = FakeKernel()
        kernel.install(FakeKVM(), at: "/dev/kvm")
        let system = try KVMSystem(kernel: kernel)
        let directory = try TemporaryDirectory()
        let path = directory.path + "/file"
        let file = try openFile(path, [.readWrite, .create])
        #expect(ftruncate(file.rawValue, 1 << 20) == 0)
        let unsealed = #expect(throws: GuestFailure.self) {
            _ = try GuestMachine(system, .edge, slots: 1, fault: nil, counters: try file.duplicate())
        }
        #expect(unsealed?.step == "map the counters")
        let small = try GuestCounters(slots: 1)
        let short = #expect(throws: GuestFailure.self) {
            _ = try GuestMachine(
                system, .edge, slots: 221, fault: nil, counters: OwnedDescriptor(adopting: dup(small.descriptor)))
        }
        #expect(short?.kernelError.errno == .invalidArgument)
    }

    @Test("without KVM the first request is answered with why, and what to do about it")
    func noKVM() async throws {
        let pair = try UnixSocket.pair(.packets)
        let guest = GuestChannel(UnixSocket(adopting: try pair.second.duplicate()))
        let connection = GuestConnection(UnixSocket(adopting: try pair.first.duplicate()))
        let missing = GuestFailure(
            step: "open KVM", KernelError("open", on: "/dev/kvm", .noSuchFileOrDirectory), hint: "load kvm_amd")
        let lane = try BlockingLane(name: "guest")
        let service = Lock<GuestService?>(GuestService(guest, system: .failure(missing)))
        lane.start { service.withLock { try? $0?.run() } }
        let counters = try GuestCounters(slots: 1)
        for _ in 0..<2 {
            let error = #expect(throws: GuestProtocolError.self) {
                try connection.setUp(.edge, counters: counters)
            }
            #expect(error == .failed(missing))
        }
        try connection.finish()
        await lane.run {}
    }
}
