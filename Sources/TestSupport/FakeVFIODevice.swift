internal import CLinux
internal import LinuxSystem
internal import SystemPackage

/// A PCI function of the fake host, as vfio-pci shows it. Its interrupt rules stand in ``FakeVFIOInterrupts``.
public final class FakeVFIODevice: Sendable {
    /// What a device is like.
    public struct Configuration: Sendable {
        /// What VFIO_DEVICE_GET_IRQ_INFO says of INTx.
        public var intxCount: UInt32 = 0
        /// What it says of MSI.
        public var msiCount: UInt32 = 0
        /// What it says of MSI-X.
        public var msixCount: UInt32 = 0
        /// Whether the kernel is Linux 6.5 or later, with which MSI-X vectors can be added while it is on.
        public var isLinux6dot5 = true
        /// Whether it is a PCI Express function, which can report errors.
        public var isPCIExpress = true
        /// Whether the kernel is Linux 7.3 or later, with which every function has the index of errors.
        public var isLinux7dot3 = false
        /// The most interrupts that the host allocates for it; more asked for is the positive result.
        public var allocatable = 2048
        /// Whether a line that is asserted already fires when INTx is turned on; otherwise only an unmask shows it.
        public var noticesLineWhenEnabled = true
        /// Whether it can be reset.
        public var canReset = true
        /// The bus behind a bridge that it is on; nil if it is on a root bus, which cannot be reset.
        public var bus: Int?
        /// Whether it is bound to vfio-pci, or only in the IOMMU group and on the bus.
        public var isBound = true
        /// Configuration space, 256 bytes. Command is writable, Interrupt Status follows the line, the rest is fixed.
        public var configuration = [UInt8](repeating: 0, count: 256)
        /// Its BARs, by index.
        public var bars: [Int: [UInt8]] = [:]
        /// Called after a write to a BAR, as a device would act on it: the device, BAR, offset and bytes.
        public var onBARWrite: (@Sendable (FakeVFIODevice, Int, Int, [UInt8]) -> Void)?

        /// A device with these interrupts and no BARs.
        public init(intxCount: UInt32 = 0, msiCount: UInt32 = 0, msixCount: UInt32 = 0) {
            self.intxCount = intxCount
            self.msiCount = msiCount
            self.msixCount = msixCount
        }
    }

    struct State {
        var configuration: [UInt8]
        var bars: [Int: [UInt8]]
        var interrupts = FakeVFIOInterrupts()
        var isSilent = false
        var openCount = 0
        var resetCount = 0
        var hotResetCount = 0
    }

    /// Its address, as VFIO_GROUP_GET_DEVICE_FD names it.
    public let address: String
    let fixed: Configuration
    let state: Lock<State>
    private let home = Lock<(vfio: FakeVFIO, iommuGroup: Int)?>(nil)

    /// A device that is not in a host yet.
    public init(_ address: String, _ configuration: Configuration) {
        self.address = address
        fixed = configuration
        state = Lock(State(configuration: configuration.configuration, bars: configuration.bars))
    }

    /// How often it was reset through VFIO_DEVICE_RESET.
    public var resetCount: Int { state.withLock { $0.resetCount } }

    /// How often it was reset along with its bus, through VFIO_DEVICE_PCI_HOT_RESET of any device on it.
    public var hotResetCount: Int { state.withLock { $0.hotResetCount } }

    /// The Command register.
    public var command: UInt16 {
        state.withLock { UInt16($0.configuration[5]) << 8 | UInt16($0.configuration[4]) }
    }

    /// From now on the device answers, or it does not: all but its ids, which VFIO knows, reads as all ones, and what is
    /// written is lost.
    public func setAnswering(_ answers: Bool) { state.withLock { $0.isSilent = !answers } }

    /// The bytes of a BAR; empty if it has none of that index.
    public func bar(_ index: Int) -> [UInt8] { state.withLock { $0.bars[index] ?? [] } }

    /// The device asserts its INTx line, or no longer.
    public func setLine(asserted: Bool) {
        state.withLock { $0.interrupts.setLine(asserted, $0.isLineDisabled) }
    }

    /// The device sends the message of a vector, if it is a bus master. Returns whether it reached the host or waits in
    /// the device's Pending Bit Array; otherwise it is gone.
    @discardableResult
    public func raise(_ vector: Int) -> Bool {
        let isBusMaster = command & UInt16(PCI_COMMAND_MASTER) != 0
        return state.withLock { isBusMaster && $0.interrupts.raise(vector) }
    }

    /// The host asks for the device back, as it does once and then every ten seconds while somebody unbinds it
    /// (VFIO_PCI_REQ_IRQ_INDEX). Returns whether somebody was told.
    @discardableResult
    public func askBack() -> Bool { tell(4) }

    /// The device reports an uncorrectable error (VFIO_PCI_ERR_IRQ_INDEX). Returns whether somebody was told.
    @discardableResult
    public func reportError() -> Bool { tell(3) }

    private func tell(_ index: Int) -> Bool {
        state.withLock { state in
            state.interrupts.single[index]?.signal()
            return state.interrupts.single[index] != nil
        }
    }

    /// From now on the host allocates at most this many interrupts for it, where their number is then fixed (MSI, and
    /// MSI-X before Linux 6.5); more asked for is the positive result.
    public func setAllocatable(_ count: Int) { state.withLock { $0.interrupts.allocatable = count } }

    /// How many it allocates.
    public var allocatable: Int { state.withLock { $0.interrupts.allocatable } ?? fixed.allocatable }

    /// Lets the unmask eventfd do what its writer's wakeup does in the kernel, where a process wrote it. Every call on the
    /// device does it too.
    public func settle() {
        state.withLock { $0.interrupts.settle($0.isLineDisabled) }
    }

    /// The interrupt index that is on: 0 INTx, 1 MSI, 2 MSI-X, nil none.
    public var activeIndex: Int? { state.withLock { $0.interrupts.active } }

    /// The vectors of that index that signal an eventfd.
    public var wiredVectors: [Int] { state.withLock { $0.interrupts.triggers.keys.sorted() } }

    /// The eventfds that they signal, as procfs numbers them.
    public var triggers: [Int: Int] { state.withLock { $0.interrupts.triggers.mapValues(\.id) } }

    /// The eventfd that unmasks INTx, as procfs numbers it.
    public var unmaskNotifier: Int? { state.withLock { $0.interrupts.unmask?.id } }

    /// Whether the host masks INTx: because it was told to, or since the line fired.
    public var isLineMasked: Bool { state.withLock { $0.interrupts.isLineMasked } }

    /// The bits that are set in the MSI-X Pending Bit Array.
    public var pendingBits: Set<Int> { state.withLock { $0.interrupts.pendingBits } }

    func join(_ vfio: FakeVFIO, _ iommuGroup: Int) { home.withLock { $0 = (vfio, iommuGroup) } }

    var host: FakeVFIO? { home.withLock { $0?.vfio } }

    fileprivate func setIRQs(_ bytes: [UInt8], failing: FakeKernel.Failure?) throws(KernelError) -> CInt {
        let request = try FakeSetIRQs(bytes, fixed)
        let (fixed, host) = (fixed, host)
        return try state.withLock { (state) throws(KernelError) in
            let before = state.interrupts.unmask
            defer {
                let after = state.interrupts.unmask
                if before !== after {
                    before?.stopWaiting(self)
                    after?.wait(self) { [weak self] in self?.settle() }
                }
            }
            return try state.interrupts.apply(
                request, fixed, host, lineDisabled: state.isLineDisabled, failing: failing)
        }
    }

    func opened() -> any FakeFile {
        state.withLock { $0.openCount += 1 }
        return FakeVFIODeviceFile(self)
    }

    /// The last close turns off what was on, as vfio_pci_core_close_device does.
    fileprivate func closed() {
        let host = host
        state.withLock { state in
            state.openCount -= 1
            if state.openCount > 0 { return }
            state.interrupts.unmask?.stopWaiting(self)
            state.interrupts.turnOff(host)
            state.interrupts.single = [:]
            state.configuration[4] &= ~UInt8(PCI_COMMAND_MASTER)
            state.configuration[5] &= ~UInt8(PCI_COMMAND_INTX_DISABLE >> 8)
        }
        guard let home = home.withLock({ $0 }) else { return }
        try? home.vfio.with(home.iommuGroup) { (group) throws(KernelError) in
            group.openDevices -= 1
            group.detachIfUnused()
        }
    }
}

extension FakeVFIODevice.State {
    var isLineDisabled: Bool { configuration[5] & UInt8(PCI_COMMAND_INTX_DISABLE >> 8) != 0 }
}

/// An open device.
private final class FakeVFIODeviceFile: FakeFile {
    private let device: FakeVFIODevice

    init(_ device: FakeVFIODevice) { self.device = device }

    func released(kernel: FakeKernel) { device.closed() }

    func ioctl(_ request: UInt, value: UInt, kernel: FakeKernel) throws(KernelError) -> CInt {
        guard request == CLINUX_VFIO_DEVICE_RESET else { throw KernelError("ioctl", .inappropriateIOCTLForDevice) }
        guard device.fixed.canReset else { throw KernelError("ioctl", .invalidArgument) }
        device.state.withLock { $0.resetCount += 1 }
        return 0
    }

    func ioctl(_ request: UInt, bytes: inout [UInt8], kernel: FakeKernel) throws(KernelError) -> CInt {
        device.settle()
        switch request {
        case CLINUX_VFIO_DEVICE_GET_INFO:
            try requireSize(bytes, 16)
            let reset = device.fixed.canReset ? UInt32(VFIO_DEVICE_FLAGS_RESET) : 0
            for (offset, word) in [(4, UInt32(VFIO_DEVICE_FLAGS_PCI) | reset), (8, 9), (12, 5)] {
                bytes.setWord(word, at: offset)
            }
        case CLINUX_VFIO_DEVICE_GET_REGION_INFO:
            try requireSize(bytes, 32)
            let index = bytes.word(at: 8) ?? 0
            guard index < 8 else { throw KernelError("ioctl", .invalidArgument) }
            let size = device.state.withLock { $0.size(ofRegion: Int(index)) }
            let access = UInt32(VFIO_REGION_INFO_FLAG_READ) | UInt32(VFIO_REGION_INFO_FLAG_WRITE)
            bytes.setWord(size == 0 ? 0 : access, at: 4)
            for (offset, word) in [(12, 0), (16, UInt32(size)), (20, 0), (24, 0), (28, index << 8)] {
                bytes.setWord(word, at: offset)
            }
        case CLINUX_VFIO_DEVICE_GET_IRQ_INFO:
            try requireSize(bytes, 16)
            let info = try device.fixed.irqInfo(bytes.word(at: 8) ?? 0)
            bytes.setWord(info.flags, at: 4)
            bytes.setWord(info.count, at: 12)
        case CLINUX_VFIO_DEVICE_SET_IRQS:
            return try device.setIRQs(bytes, failing: kernel.takeFailure())
        case CLINUX_VFIO_DEVICE_GET_PCI_HOT_RESET_INFO: try device.describeHotReset(&bytes)
        case CLINUX_VFIO_DEVICE_PCI_HOT_RESET: try device.hotReset(bytes, kernel)
        default: throw KernelError("ioctl", .inappropriateIOCTLForDevice)
        }
        return 0
    }

    func read(at offset: UInt64, count: Int, kernel: FakeKernel) throws(KernelError) -> [UInt8] {
        let (region, start) = (Int(offset >> 40), Int(truncatingIfNeeded: offset & (1 << 40 - 1)))
        return try device.state.withLock { (state) throws(KernelError) in
            guard start < state.size(ofRegion: region) else { throw KernelError("pread", .invalidArgument) }
            var bytes = region == 7 ? state.visibleConfiguration : state.bars[region] ?? []
            if state.isSilent {
                let known = region == 7 ? 4 : 0
                bytes.replaceSubrange(known..., with: [UInt8](repeating: 0xff, count: bytes.count - known))
            }
            return Array(bytes[start...].prefix(count))
        }
    }

    func write(_ bytes: [UInt8], at offset: UInt64, kernel: FakeKernel) throws(KernelError) -> Int {
        let (region, start) = (Int(offset >> 40), Int(truncatingIfNeeded: offset & (1 << 40 - 1)))
        let written = try device.state.withLock { (state) throws(KernelError) in
            guard start < state.size(ofRegion: region) else { throw KernelError("pwrite", .invalidArgument) }
            return state.write(bytes, region, start)
        }
        if region != 7 { device.fixed.onBARWrite?(device, region, start, Array(bytes.prefix(written))) }
        return written
    }

    private func requireSize(_ bytes: [UInt8], _ size: UInt32) throws(KernelError) {
        guard let given = bytes.word(at: 0) else { throw KernelError("ioctl", .badAddress) }
        if given < size { throw KernelError("ioctl", .invalidArgument) }
    }
}

extension FakeVFIODevice.State {
    func size(ofRegion region: Int) -> Int { region == 7 ? configuration.count : bars[region]?.count ?? 0 }

    /// Configuration space with Interrupt Status as the line is.
    var visibleConfiguration: [UInt8] {
        var bytes = configuration
        if interrupts.isLineAsserted { bytes[6] |= UInt8(PCI_STATUS_INTERRUPT) }
        return bytes
    }

    mutating func write(_ bytes: [UInt8], _ region: Int, _ start: Int) -> Int {
        let count = min(bytes.count, size(ofRegion: region) - start)
        if isSilent { return count }
        let wasDisabled = isLineDisabled
        for (index, byte) in bytes.prefix(count).enumerated() {
            if region != 7 {
                bars[region]?[start + index] = byte
            } else if start + index == 4 || start + index == 5 {
                configuration[start + index] = byte
            }
        }
        if isLineDisabled != wasDisabled { interrupts.lineDisableChanged(isLineDisabled) }
        return count
    }
}
