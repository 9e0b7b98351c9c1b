internal import CLinux
internal import LinuxSystem
internal import SystemPackage

/// A virtual CPU of the fake KVM: a local APIC whose requests stay, because nothing runs that would take them.
final class FakeKVMVCPU: FakeFile {
    static let runAreaLength = 4096
    // Offsets in the local APIC's page (Intel SDM volume 3, table 11-1).
    private static let identity = 0x20
    private static let spuriousVector = 0xf0
    private static let requests = 0x200

    private let registers: Lock<[UInt8]>
    private let runArea: SharedMemory
    private let prepare: @Sendable () -> Void

    /// `prepare` is called before the local APIC is looked at.
    init(id: Int, prepare: @escaping @Sendable () -> Void) throws(KernelError) {
        var page = [UInt8](repeating: 0, count: 1024)
        page.setWord(UInt32(truncatingIfNeeded: id) << 24, at: FakeKVMVCPU.identity)
        // After reset the local APIC is off: bit 8 is clear.
        page.setWord(0xff, at: FakeKVMVCPU.spuriousVector)
        registers = Lock(page)
        self.prepare = prepare
        runArea = try SharedMemory(name: "kvm_run", length: FakeKVMVCPU.runAreaLength)
    }

    func ioctl(_ request: UInt, bytes: inout [UInt8], kernel: FakeKernel) throws(KernelError) -> CInt {
        switch request {
        case CLINUX_KVM_GET_LAPIC:
            prepare()
            bytes = registers.withLock { $0 }
            return 0
        case CLINUX_KVM_SET_LAPIC:
            registers.withLock { $0 = bytes }
            return 0
        case CLINUX_KVM_SET_MSRS: return CInt(clamping: bytes.word(at: 0) ?? 0)
        case CLINUX_KVM_SET_CPUID2, CLINUX_KVM_GET_SREGS, CLINUX_KVM_SET_SREGS, CLINUX_KVM_SET_REGS,
            CLINUX_KVM_SET_MP_STATE:
            return 0
        default: throw KernelError("ioctl", .invalidArgument)
        }
    }

    func map(at offset: UInt64, length: Int, kernel: FakeKernel) throws(KernelError) -> MappedMemory {
        try MappedMemory(mapping: runArea.descriptor.rawValue, length: length)
    }

    /// Sets the request bit of a vector. Returns false where the local APIC is off or the vector none of its own.
    func request(_ vector: UInt8) -> Bool {
        registers.withLock { page in
            guard vector >= 16, (page.word(at: FakeKVMVCPU.spuriousVector) ?? 0) & 1 << 8 != 0 else { return false }
            let offset = FakeKVMVCPU.requests + Int(vector / 32) * 16
            page.setWord((page.word(at: offset) ?? 0) | 1 << UInt32(vector % 32), at: offset)
            return true
        }
    }
}
