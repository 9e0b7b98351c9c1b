internal import CLinux
internal import Glibc
public import LinuxSystem
internal import SystemPackage

/// The VFIO of a fake host: /dev/vfio/vfio and /dev/vfio/N with the rules of the kernel's legacy container.
///
///     let kernel = FakeKernel()
///     let vfio = FakeVFIO()
///     vfio.add(FakeVFIODevice("0000:00:10.0", .init(msixCount: 5)), iommuGroup: 7)
///     kernel.install(vfio, at: "/dev/vfio/")
public final class FakeVFIO: FakeNode {
    /// What VFIO_GET_API_VERSION answers.
    public let apiVersion: CInt
    /// Whether the host remaps interrupts; without, VFIO_SET_IOMMU is EPERM.
    public let hasInterruptRemapping: Bool
    private let groups = Lock<[Int: Group]>([:])
    private let vectorsLeft: Lock<Int>
    private let tokens = Lock(Tokens())
    let dma = Lock<[FakeVFIO.Mapping]>([])

    /// Memory that devices can reach.
    public struct Mapping: Hashable, Sendable {
        /// The devices' address.
        public let iova: UInt64
        /// How many bytes.
        public let size: UInt64
        /// Whether they may write it.
        public let isWritable: Bool
    }

    /// All that is mapped, in all containers, ascending.
    public var mappings: [Mapping] { dma.withLock { $0.sorted { $0.iova < $1.iova } } }

    struct Group {
        var devices: [FakeVFIODevice] = []
        var isViable = true
        var isOpen = false
        var openDevices = 0
        var container: FakeContainer?
    }

    /// What the devices' VF tokens are about: which is virtual, and of the physical ones the token.
    struct Tokens {
        var physical: [String: String] = [:]
        var tokens: [String: String] = [:]
    }

    /// A host with this many interrupt vectors to give away.
    public init(hostVectors: Int = 1000, apiVersion: CInt = 0, hasInterruptRemapping: Bool = true) {
        self.apiVersion = apiVersion
        self.hasInterruptRemapping = hasInterruptRemapping
        vectorsLeft = Lock(hostVectors)
    }

    /// Puts a device, bound to vfio-pci, into an IOMMU group.
    public func add(_ device: FakeVFIODevice, iommuGroup: Int) {
        device.join(self, iommuGroup)
        groups.withLock { $0[iommuGroup, default: Group()].devices.append(device) }
    }

    /// Makes a device a virtual function of another one, which vfio-pci has and nobody knows the token of.
    public func makeVirtual(_ function: String, of physical: String) {
        tokens.withLock { state in
            state.physical[function] = physical
            if state.tokens[physical] == nil { state.tokens[physical] = "chosen by the kernel" }
        }
    }

    /// The rules of vfio_pci_validate_vf_token (drivers/vfio/pci/vfio_pci_core.c).
    fileprivate func admit(_ address: String, _ token: String?) throws(KernelError) {
        try tokens.withLock { (state) throws(KernelError) in
            if let physical = state.physical[address] {
                if token == nil || token != state.tokens[physical] { throw KernelError("ioctl", .permissionDenied) }
            } else if let token {
                guard state.tokens[address] != nil else { throw KernelError("ioctl", .invalidArgument) }
                state.tokens[address] = token
            }
        }
    }

    /// Lets a member of the IOMMU group be bound to a driver that does DMA, or not.
    public func setViable(_ viable: Bool, iommuGroup: Int) {
        groups.withLock { $0[iommuGroup, default: Group()].isViable = viable }
    }

    /// How many interrupt vectors the host has left.
    public var hostVectors: Int { vectorsLeft.withLock { $0 } }

    /// Other users of the host give vectors back, or with a negative number take some.
    public func addHostVectors(_ count: Int) { vectorsLeft.withLock { $0 += count } }

    /// Opens a container or an IOMMU group.
    public func open(_ path: String, _ mode: OpenMode) throws(KernelError) -> any FakeFile {
        if path == "/dev/vfio/vfio" { return FakeContainer(self) }
        guard let number = path.split(separator: "/").last.flatMap({ Int($0) }) else {
            throw KernelError("open", on: path, .noSuchFileOrDirectory)
        }
        return try with(number) { (group) throws(KernelError) in
            if group.isOpen || group.openDevices > 0 { throw KernelError("open", on: path, .resourceBusy) }
            group.isOpen = true
            return FakeGroupFile(self, number)
        }
    }

    func with<Result>(
        _ number: Int, _ body: (inout Group) throws(KernelError) -> sending Result
    ) throws(KernelError) -> sending Result {
        try groups.withLock { (groups) throws(KernelError) in
            guard var group = groups[number] else {
                throw KernelError("open", on: "IOMMU group \(number)", .noSuchFileOrDirectory)
            }
            defer { groups[number] = group }
            return try body(&group)
        }
    }

    /// The devices on a bus, with their IOMMU groups.
    func devices(onBus bus: Int) -> [(device: FakeVFIODevice, iommuGroup: Int)] {
        groups.withLock { groups in
            groups.flatMap { number, group in
                group.devices.filter { $0.fixed.bus == bus }.map { ($0, number) }
            }
        }
    }

    func takeVector() -> Bool {
        vectorsLeft.withLock { left in
            if left <= 0 { return false }
            left -= 1
            return true
        }
    }

    func giveVectorBack() { vectorsLeft.withLock { $0 += 1 } }
}

/// An open /dev/vfio/vfio.
final class FakeContainer: FakeFile {
    private let vfio: FakeVFIO
    private let state = Lock((groups: 0, hasIOMMU: false))
    private let mappings = FakeDMAMappings()

    init(_ vfio: FakeVFIO) { self.vfio = vfio }

    var hasIOMMU: Bool { state.withLock { $0.hasIOMMU } }

    func attachGroup() { state.withLock { $0.groups += 1 } }

    func detachGroup() {
        state.withLock { state in
            state.groups -= 1
            if state.groups == 0 {
                state.hasIOMMU = false
                mappings.removeAll(vfio)
            }
        }
    }

    func ioctl(_ request: UInt, bytes: inout [UInt8], kernel: FakeKernel) throws(KernelError) -> CInt {
        guard hasIOMMU else { throw KernelError("ioctl", .invalidArgument) }
        return try mappings.ioctl(request, bytes: &bytes, vfio)
    }

    func ioctl(_ request: UInt, value: UInt, kernel: FakeKernel) throws(KernelError) -> CInt {
        switch request {
        case CLINUX_VFIO_GET_API_VERSION: return vfio.apiVersion
        case CLINUX_VFIO_CHECK_EXTENSION: return value == UInt(VFIO_TYPE1v2_IOMMU) ? 1 : 0
        case CLINUX_VFIO_SET_IOMMU:
            return try state.withLock { (state) throws(KernelError) in
                guard state.groups > 0, !state.hasIOMMU, value == UInt(VFIO_TYPE1v2_IOMMU) else {
                    throw KernelError("ioctl", .invalidArgument)
                }
                guard vfio.hasInterruptRemapping else { throw KernelError("ioctl", .notPermitted) }
                state.hasIOMMU = true
                return 0
            }
        default: throw KernelError("ioctl", .inappropriateIOCTLForDevice)
        }
    }
}

/// An open /dev/vfio/N.
final class FakeGroupFile: FakeFile {
    private let vfio: FakeVFIO
    let number: Int

    init(_ vfio: FakeVFIO, _ number: Int) {
        self.vfio = vfio
        self.number = number
    }

    func ioctl(_ request: UInt, bytes: inout [UInt8], kernel: FakeKernel) throws(KernelError) -> CInt {
        switch request {
        case CLINUX_VFIO_GROUP_GET_STATUS:
            guard let size = bytes.word(at: 0), size >= 8 else { throw KernelError("ioctl", .invalidArgument) }
            let flags = try vfio.with(number) { (group) throws(KernelError) in
                UInt32(group.isViable ? VFIO_GROUP_FLAGS_VIABLE : 0)
                    | UInt32(group.container != nil ? VFIO_GROUP_FLAGS_CONTAINER_SET : 0)
            }
            bytes.setWord(flags, at: 4)
            return 0
        case CLINUX_VFIO_GROUP_SET_CONTAINER:
            let descriptor = CInt(bitPattern: bytes.word(at: 0) ?? 0)
            let file = try kernel.file(of: descriptor)
            try vfio.with(number) { (group) throws(KernelError) in
                guard group.container == nil, let container = file as? FakeContainer else {
                    throw KernelError("ioctl", .invalidArgument)
                }
                guard group.isViable else { throw KernelError("ioctl", .notPermitted) }
                group.container = container
                container.attachGroup()
            }
            return 0
        case CLINUX_VFIO_GROUP_GET_DEVICE_FD:
            let words = String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self).split(separator: " ").map(String.init)
            let token = words.dropFirst().first.flatMap { word in
                word.hasPrefix("vf_token=") ? String(word.dropFirst("vf_token=".count)) : nil
            }
            if words.count > (token == nil ? 1 : 2) { throw KernelError("ioctl", .invalidArgument) }
            let device = try vfio.with(number) { (group) throws(KernelError) in
                guard group.container?.hasIOMMU == true else { throw KernelError("ioctl", .invalidArgument) }
                guard let device = group.devices.first(where: { $0.address == words.first && $0.fixed.isBound }) else {
                    throw KernelError("ioctl", Errno(rawValue: ENODEV))
                }
                try vfio.admit(device.address, token)
                group.openDevices += 1
                return device
            }
            return try kernel.descriptor(for: device.opened()).release()
        default: throw KernelError("ioctl", .inappropriateIOCTLForDevice)
        }
    }

    func released(kernel: FakeKernel) {
        try? vfio.with(number) { (group) throws(KernelError) in
            group.isOpen = false
            group.detachIfUnused()
        }
    }
}

extension FakeVFIO.Group {
    /// A group leaves its container when neither it nor a device of it is open.
    mutating func detachIfUnused() {
        if isOpen || openDevices > 0 { return }
        container?.detachGroup()
        container = nil
    }
}
