internal import CLinux
internal import Glibc
internal import LinuxSystem
internal import SystemPackage

/// VFIO_DEVICE_SET_IRQS with the checks that come before any interrupt type sees it (vfio_main.c), in their order.
struct FakeSetIRQs {
    enum Payload {
        case none
        case bools([Bool])
        case descriptors([CInt])
    }

    let index: Int
    let start: Int
    let count: Int
    let action: UInt32
    let payload: Payload

    init(_ bytes: [UInt8], _ device: FakeVFIODevice.Configuration) throws(KernelError) {
        guard let size = bytes.word(at: 0), let flags = bytes.word(at: 4), let index = bytes.word(at: 8),
            let start = bytes.word(at: 12), let count = bytes.word(at: 16)
        else { throw KernelError("ioctl", .badAddress) }
        let invalid = KernelError("ioctl", .invalidArgument)
        guard size >= 20, index < 5, count < UInt32.max - start, flags & ~0x3f == 0 else { throw invalid }
        let vectors = try device.irqInfo(index, countOnly: true).count
        guard start < vectors, start + count <= vectors else { throw invalid }
        let width: UInt32
        switch flags & 7 {
        case UInt32(VFIO_IRQ_SET_DATA_NONE): width = 0
        case UInt32(VFIO_IRQ_SET_DATA_BOOL): width = 1
        case UInt32(VFIO_IRQ_SET_DATA_EVENTFD): width = 4
        default: throw invalid
        }
        guard size - 20 >= count * width else { throw invalid }
        guard bytes.count >= 20 + Int(count * width) else { throw KernelError("ioctl", .badAddress) }
        (self.index, self.start, self.count) = (Int(index), Int(start), Int(count))
        action = flags & 0x38
        let data = Array(bytes[20...])
        switch width {
        case 0: payload = .none
        case 1: payload = .bools(data.prefix(Int(count)).map { $0 != 0 })
        default: payload = .descriptors((0..<Int(count)).map { CInt(bitPattern: data.word(at: 4 * $0) ?? 0) })
        }
    }

    /// Whether it gives messages descriptors one after the other, so that it can stop half way.
    var canFailAtVector: Bool {
        guard index == 1 || index == 2, action == UInt32(VFIO_IRQ_SET_ACTION_TRIGGER) else { return false }
        if case .descriptors = payload { return count > 0 }
        return false
    }

    /// Which vectors a loopback is for; nil where descriptors were given.
    var loopback: [Int]? {
        switch payload {
        case .none: Array(start..<start + count)
        case .bools(let bools): bools.indices.filter { bools[$0] }.map { start + $0 }
        case .descriptors: nil
        }
    }
}

extension FakeVFIODevice.Configuration {
    /// What the kernel says of an index. VFIO_DEVICE_GET_IRQ_INFO refuses indexes that do not exist.
    func irqInfo(_ index: UInt32, countOnly: Bool = false) throws(KernelError) -> (count: UInt32, flags: UInt32) {
        let noResize = UInt32(VFIO_IRQ_INFO_EVENTFD) | UInt32(VFIO_IRQ_INFO_NORESIZE)
        switch index {
        case 0: return (intxCount, 7)
        case 1: return (msiCount, noResize)
        case 2: return (msixCount, isLinux6dot5 ? UInt32(VFIO_IRQ_INFO_EVENTFD) : noResize)
        case 3 where !isPCIExpress && !isLinux7dot3:
            if countOnly { return (0, noResize) }
            throw KernelError("ioctl", .invalidArgument)
        case 3, 4: return (1, noResize)
        default: throw KernelError("ioctl", .invalidArgument)
        }
    }
}

/// The interrupt state of one device and the rules of vfio_pci_intrs.c.
struct FakeVFIOInterrupts {
    private enum Action { static let mask: UInt32 = 8, unmask: UInt32 = 16, trigger: UInt32 = 32 }

    /// 0 INTx, 1 MSI, 2 MSI-X; nil none.
    private(set) var active: Int?
    private(set) var triggers: [Int: FakeEventFD] = [:]
    private(set) var isLineAsserted = false
    private(set) var isLineMasked = false
    private(set) var unmask: FakeEventFD?
    /// In place of what the device was given at first, how many interrupts the host allocates for it, where their number
    /// is then fixed.
    var allocatable: Int?
    /// How many interrupts are allocated while MSI or MSI-X is on.
    private var allocated = 0
    /// The MSI-X Pending Bit Array.
    private(set) var pendingBits: Set<Int> = []
    /// The triggers of ERR (3) and REQ (4).
    var single: [Int: FakeEventFD] = [:]

    mutating func apply(
        _ request: FakeSetIRQs, _ device: FakeVFIODevice.Configuration, _ host: FakeVFIO?, lineDisabled: Bool,
        failing: FakeKernel.Failure? = nil
    ) throws(KernelError) -> CInt {
        if let failing, !request.canFailAtVector { throw refused(failing.errno) }
        switch (request.index, request.action) {
        case (0, Action.mask), (0, Action.unmask): return try setLine(request, lineDisabled)
        case (0, Action.trigger): return try triggerLine(request, lineDisabled, device)
        case (1, Action.trigger), (2, Action.trigger): return try triggerMessages(request, device, host, failing)
        case (3, Action.trigger), (4, Action.trigger): return try triggerSingle(request)
        default: throw KernelError("ioctl", .inappropriateIOCTLForDevice)
        }
    }

    // MARK: INTx

    private mutating func setLine(_ request: FakeSetIRQs, _ lineDisabled: Bool) throws(KernelError) -> CInt {
        guard active == 0, request.start == 0, request.count == 1 else { throw refused(.invalidArgument) }
        let isMask = request.action == Action.mask
        switch request.payload {
        case .descriptors(let descriptors):
            if isMask { throw refused(.inappropriateIOCTLForDevice) }
            guard let descriptor = descriptors.first, descriptor >= 0 else {
                unmask = nil
                return 0
            }
            let eventfd = try FakeEventFD(behind: descriptor)
            if unmask != nil { throw refused(.resourceBusy) }
            unmask = eventfd
            settle(lineDisabled)
        case .none, .bools:
            if request.loopback?.isEmpty == true { return 0 }
            if isMask { isLineMasked = true } else { unmaskLine(lineDisabled) }
        }
        return 0
    }

    private mutating func triggerLine(
        _ request: FakeSetIRQs, _ lineDisabled: Bool, _ device: FakeVFIODevice.Configuration
    ) throws(KernelError) -> CInt {
        if active == 0, request.count == 0, case .none = request.payload {
            turnOff(nil)
            return 0
        }
        guard active == nil || active == 0, request.start == 0, request.count == 1 else {
            throw refused(.invalidArgument)
        }
        guard case .descriptors(let descriptors) = request.payload else {
            if active == nil { throw refused(.invalidArgument) }
            if request.loopback?.isEmpty == false && !lineDisabled { triggers[0]?.signal() }
            return 0
        }
        let wasOff = active == nil
        let descriptor = descriptors.first ?? -1
        triggers[0] = descriptor >= 0 ? try FakeEventFD(behind: descriptor) : nil
        if wasOff {
            active = 0
            isLineMasked = lineDisabled
            if !device.noticesLineWhenEnabled { return 0 }
        }
        fireLine(lineDisabled)
        return 0
    }

    mutating func setLine(_ asserted: Bool, _ lineDisabled: Bool) {
        isLineAsserted = asserted
        fireLine(lineDisabled)
    }

    mutating func lineDisableChanged(_ disabled: Bool) {
        if active != 0 { return }
        if disabled { isLineMasked = true } else { unmaskLine(false) }
    }

    /// What a signal of the unmask eventfd does.
    mutating func settle(_ lineDisabled: Bool) {
        if let unmask, unmask.drain() > 0 { unmaskLine(lineDisabled) }
    }

    private mutating func unmaskLine(_ lineDisabled: Bool) {
        if !isLineMasked || lineDisabled { return }
        // A line that is still asserted stays masked and signals again.
        isLineMasked = isLineAsserted
        if isLineAsserted { triggers[0]?.signal() }
    }

    /// The interrupt handler: masks the line and signals.
    private mutating func fireLine(_ lineDisabled: Bool) {
        guard active == 0, isLineAsserted, !isLineMasked, !lineDisabled else { return }
        isLineMasked = true
        triggers[0]?.signal()
    }

    // MARK: MSI and MSI-X

    private mutating func triggerMessages(
        _ request: FakeSetIRQs, _ device: FakeVFIODevice.Configuration, _ host: FakeVFIO?,
        _ failing: FakeKernel.Failure?
    ) throws(KernelError) -> CInt {
        if active == request.index, request.count == 0, case .none = request.payload {
            turnOff(host)
            return 0
        }
        guard active == nil || active == request.index else { throw refused(.invalidArgument) }
        guard case .descriptors(let descriptors) = request.payload else {
            if active == nil { throw refused(.invalidArgument) }
            for vector in request.loopback ?? [] { triggers[vector]?.signal() }
            return 0
        }
        let wasOff = active == nil
        if wasOff {
            let wanted = request.start + request.count
            if wanted == 0 { throw refused(Errno(rawValue: ERANGE)) }
            let isDynamic = request.index == 2 && device.isLinux6dot5
            let limit = isDynamic ? device.allocatable : allocatable ?? device.allocatable
            if wanted > limit { return CInt(limit) }
            // Before 6.5 it then found that the range begins behind the vectors it had allocated.
            if request.count == 0 && !device.isLinux6dot5 { throw refused(.invalidArgument) }
            active = request.index
            allocated = wanted
        }
        for (offset, descriptor) in descriptors.enumerated() {
            do throws(KernelError) {
                if let failing, failing.vector % descriptors.count == offset {
                    if let event = failing.event, raise(event.vector) { event.told(request.index) }
                    throw refused(failing.errno)
                }
                try wire(request.start + offset, descriptor, device, host)
            } catch {
                // The failed vector and those before it in the call lose their eventfds, also what worked before.
                for vector in request.start...request.start + offset { unwire(vector, host) }
                if wasOff { turnOff(host) }
                throw error
            }
        }
        return 0
    }

    private mutating func wire(
        _ vector: Int, _ descriptor: CInt, _ device: FakeVFIODevice.Configuration, _ host: FakeVFIO?
    ) throws(KernelError) {
        if vector >= allocated {
            guard active == 2, device.isLinux6dot5 else { throw refused(.invalidArgument) }
            if descriptor >= 0 { allocated = vector + 1 }
        }
        unwire(vector, host)
        if descriptor < 0 { return }
        let eventfd = try FakeEventFD(behind: descriptor)
        if host?.takeVector() == false { throw refused(.noSpace) }
        triggers[vector] = eventfd
        if pendingBits.remove(vector) != nil { eventfd.signal() }
    }

    private mutating func unwire(_ vector: Int, _ host: FakeVFIO?) {
        if triggers.removeValue(forKey: vector) != nil { host?.giveVectorBack() }
    }

    /// Returns whether the host has it, or the device keeps it.
    mutating func raise(_ vector: Int) -> Bool {
        guard active == 1 || active == 2 else { return false }
        if let trigger = triggers[vector] {
            trigger.signal()
            return true
        }
        if active == 2 { pendingBits.insert(vector) }
        return active == 2
    }

    mutating func turnOff(_ host: FakeVFIO?) {
        if active != 0 { for _ in triggers { host?.giveVectorBack() } }
        triggers = [:]
        unmask = nil
        allocated = 0
        pendingBits = []
        active = nil
    }

    // MARK: ERR and REQ

    private mutating func triggerSingle(_ request: FakeSetIRQs) throws(KernelError) -> CInt {
        let trigger = single[request.index]
        switch request.payload {
        case .none:
            guard let trigger else { throw refused(.invalidArgument) }
            if request.count > 0 { trigger.signal() } else { single[request.index] = nil }
        case .bools(let bools):
            guard let first = bools.first else { throw refused(.invalidArgument) }
            if first { trigger?.signal() }
        case .descriptors(let descriptors):
            guard let descriptor = descriptors.first, descriptor >= -1 else { throw refused(.invalidArgument) }
            single[request.index] = descriptor == -1 ? nil : try FakeEventFD(behind: descriptor)
        }
        return 0
    }

    private func refused(_ errno: Errno) -> KernelError { KernelError("ioctl", errno) }
}
