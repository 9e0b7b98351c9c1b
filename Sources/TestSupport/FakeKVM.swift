internal import CLinux
public import LinuxSystem
internal import SystemPackage

/// /dev/kvm of the fake kernel: the rules of virtual machines' interrupts, with local APICs that remember what was
/// raised. Its virtual CPUs do not run.
///
/// KVMTests holds it against a real KVM, rule by rule.
public final class FakeKVM: FakeNode {
    private let apiVersion: CInt
    private let made = Lock<[FakeKVMMachine]>([])

    /// A KVM whose interface has this version.
    public init(apiVersion: CInt = 12) {
        self.apiVersion = apiVersion
    }

    /// The virtual machines that were made, in order.
    public var machines: [FakeKVMMachine] { made.withLock { $0 } }

    /// Opens the node.
    public func open(_ path: String, _ mode: OpenMode) throws(KernelError) -> any FakeFile {
        FakeKVMSystem(self, apiVersion: apiVersion)
    }

    fileprivate func makeMachine() -> FakeKVMMachine {
        let machine = FakeKVMMachine()
        made.withLock { $0.append(machine) }
        return machine
    }
}

/// One open /dev/kvm.
private final class FakeKVMSystem: FakeFile {
    private let kvm: FakeKVM
    private let apiVersion: CInt

    init(_ kvm: FakeKVM, apiVersion: CInt) {
        self.kvm = kvm
        self.apiVersion = apiVersion
    }

    func ioctl(_ request: UInt, value: UInt, kernel: FakeKernel) throws(KernelError) -> CInt {
        switch request {
        case CLINUX_KVM_GET_API_VERSION: return apiVersion
        case CLINUX_KVM_GET_VCPU_MMAP_SIZE: return CInt(FakeKVMVCPU.runAreaLength)
        case CLINUX_KVM_CREATE_VM: return try kernel.descriptor(for: kvm.makeMachine()).release()
        case CLINUX_KVM_CHECK_EXTENSION:
            switch CInt(truncatingIfNeeded: value) {
            case KVM_CAP_IRQ_ROUTING: return 4096
            case KVM_CAP_IRQFD, KVM_CAP_IRQFD_RESAMPLE: return 1
            default: return 0
            }
        default: throw KernelError("ioctl", .invalidArgument)
        }
    }

    func ioctl(_ request: UInt, bytes: inout [UInt8], kernel: FakeKernel) throws(KernelError) -> CInt {
        guard request == CLINUX_KVM_GET_SUPPORTED_CPUID else { throw KernelError("ioctl", .invalidArgument) }
        // One leaf is enough to be passed on: leaf 1, all zeros.
        bytes.setWord(1, at: 0)
        bytes.setWord(1, at: 8)
        return 0
    }
}
