import CLinux
import Glibc
import LinuxSystem
import TestSupport
import Testing

/// Takes a rule's steps on a host, with raw requests: the wrappers under test are not trusted with it.
final class VFIORuleRunner {
    private let host: VFIOHost
    private let address: String
    private let iommuGroup: Int
    private var container: SharedDescriptor?
    private var group: SharedDescriptor?
    private var devices: [SharedDescriptor] = []
    private var eventfds: [Int: EventFD] = [:]
    private let memory: SharedMemory

    init(_ host: VFIOHost, _ device: RuleDevice) throws {
        let place = try #require(host.places[device], "\(host.name) has no \(device)")
        self.host = host
        (address, iommuGroup) = place
        memory = try SharedMemory(name: "rule", length: 16 * 4096)
    }

    static func run(_ rule: VFIORule, on host: VFIOHost) throws {
        let runner = try VFIORuleRunner(host, rule.device)
        for (number, step) in rule.steps.enumerated() { try runner.take(step, "step \(number): \(step)") }
    }

    private func take(_ step: VFIORule.Step, _ text: String) throws {
        let kernel = host.kernel
        switch step {
        case .container(let outcome):
            try expect(outcome, text) { container = SharedDescriptor(try kernel.open("/dev/vfio/vfio", .readWrite)) }
        case .group(let outcome):
            try expect(outcome, text) {
                group = SharedDescriptor(try kernel.open("/dev/vfio/\(iommuGroup)", .readWrite))
            }
        case .setContainer(let outcome):
            var raw = try #require(container).rawValue
            let group = try #require(group).rawValue
            try expect(outcome, text) {
                _ = try kernel.ioctl(group, CLINUX_VFIO_GROUP_SET_CONTAINER, "VFIO_GROUP_SET_CONTAINER", &raw)
            }
        case .setIOMMU(let outcome):
            let raw = try #require(container).rawValue
            try expect(outcome, text) {
                _ = try kernel.ioctl(raw, CLINUX_VFIO_SET_IOMMU, "VFIO_SET_IOMMU", value: 3)
            }
        case .device(let outcome, let name):
            let raw = try #require(group).rawValue
            var bytes = Array((name ?? address).utf8) + [0]
            try expect(outcome, text) {
                let device = try kernel.ioctl(
                    raw, CLINUX_VFIO_GROUP_GET_DEVICE_FD, "VFIO_GROUP_GET_DEVICE_FD", buffer: &bytes)
                devices.append(SharedDescriptor(OwnedDescriptor(adopting: device)))
            }
        case .closeDevice: devices.removeLast()
        case .closeGroup: group = nil
        case .closeContainer: container = nil
        case .set(let index, let action, let payload, let start, let size, let outcome):
            var bytes = try self.bytes(index, action, payload, start, size)
            let raw = try device
            try expectResult(outcome, text) {
                Int(try kernel.ioctl(raw, CLINUX_VFIO_DEVICE_SET_IRQS, "VFIO_DEVICE_SET_IRQS", buffer: &bytes))
            }
        case .info(let index, let count, let flags, let fixed):
            let info = try info(index)
            #expect(info.count == count, "\(text)")
            #expect(info.flags == (host.isLinux6dot5 ? flags : fixed ?? flags), "\(text)")
        case .badInfo(let index, let outcome):
            try expect(outcome, text) { _ = try info(index) }
        case .reset(let outcome):
            let raw = try device
            try expect(outcome, text) { _ = try kernel.ioctl(raw, CLINUX_VFIO_DEVICE_RESET, "VFIO_DEVICE_RESET") }
        case .hotResetInfo(let room, let size, let count, let outcome):
            var words = [size ?? UInt32(12 + 8 * room), 0, 0] + [UInt32](repeating: 0, count: 2 * room)
            let raw = try device
            try expect(outcome, text) {
                _ = try kernel.ioctl(
                    raw, CLINUX_VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, "VFIO_DEVICE_GET_PCI_HOT_RESET_INFO", buffer: &words
                )
            }
            if let count { #expect(words[2] == count, "\(text)") }
        case .hotReset(let descriptors, let flags, let outcome):
            let given = try descriptors.map { descriptor in
                switch descriptor {
                case .group: UInt32(bitPattern: try #require(group).rawValue)
                case .otherFile: UInt32(bitPattern: try #require(container).rawValue)
                case .closed: UInt32(1 << 20)
                }
            }
            var words = [UInt32(12 + 4 * given.count), flags, UInt32(given.count)] + given
            let raw = try device
            try expect(outcome, text) {
                _ = try kernel.ioctl(
                    raw, CLINUX_VFIO_DEVICE_PCI_HOT_RESET, "VFIO_DEVICE_PCI_HOT_RESET", buffer: &words)
            }
        case .map(let iova, let size, let offset, let flags, let outcome):
            var words = [32 | UInt64(flags) << 32, memory.memory.address + offset, iova, size]
            let raw = try #require(container).rawValue
            try expect(outcome, text) {
                _ = try kernel.ioctl(raw, CLINUX_VFIO_IOMMU_MAP_DMA, "VFIO_IOMMU_MAP_DMA", buffer: &words)
            }
        case .unmap(let iova, let size, let bytes, let outcome):
            var words = [24, iova, size]
            let raw = try #require(container).rawValue
            try expect(outcome, text) {
                _ = try kernel.ioctl(raw, CLINUX_VFIO_IOMMU_UNMAP_DMA, "VFIO_IOMMU_UNMAP_DMA", buffer: &words)
                #expect(words.last == bytes, "\(text)")
            }
        case .signal(let number): try eventfd(number).signal()
        case .arrivals(let expected):
            for number in expected.keys { try eventfd(number).expectSignal(text) }
            fallthrough
        case .counts(let expected):
            let counted = eventfds.mapValues { $0.drain() }.filter { $0.value > 0 }
            #expect(counted == expected, "\(text)")
        case .line(let asserted):
            try write(1 as UInt32, region: 0, asserted ? EduRegister.raise : EduRegister.acknowledge)
        case .command(let intxDisable):
            var command: UInt16 = 0
            let raw = try device
            let read = try withUnsafeMutableBytes(of: &command) { bytes in
                try kernel.read(raw, at: 7 << 40 + UInt64(PCI_COMMAND), into: bytes)
            }
            #expect(read == 2, "\(text)")
            let bit = UInt16(PCI_COMMAND_INTX_DISABLE)
            try write(intxDisable ? command | bit : command & ~bit, region: 7, UInt64(PCI_COMMAND))
        }
    }

    private func write<Value: FixedWidthInteger>(_ value: Value, region: UInt64, _ offset: UInt64) throws {
        let raw = try device
        let written = try withUnsafeBytes(of: value.littleEndian) { bytes in
            try host.kernel.write(raw, at: region << 40 + offset, from: bytes)
        }
        #expect(written == Value.bitWidth / 8)
    }

    private var device: CInt {
        get throws { try #require(devices.last).rawValue }
    }

    private func info(_ index: VFIORule.Index) throws -> vfio_irq_info {
        var info = vfio_irq_info()
        info.argsz = UInt32(MemoryLayout<vfio_irq_info>.size)
        info.index = index.rawValue
        _ = try host.kernel.ioctl(
            try device, CLINUX_VFIO_DEVICE_GET_IRQ_INFO, "VFIO_DEVICE_GET_IRQ_INFO", &info)
        return info
    }

    private func eventfd(_ number: Int) throws -> EventFD {
        if let eventfd = eventfds[number] { return eventfd }
        let made = try EventFD()
        eventfds[number] = made
        return made
    }

    private func bytes(
        _ index: VFIORule.Index, _ action: VFIORule.Action, _ payload: VFIORule.Payload, _ start: UInt32,
        _ size: UInt32?
    ) throws -> [UInt8] {
        var (flags, count, data): (UInt32, UInt32, [UInt8])
        switch payload {
        case .none(let number): (flags, count, data) = (1, number, [])
        case .bools(let bools): (flags, count, data) = (2, UInt32(bools.count), bools)
        case .eventfds(let descriptors):
            data = try descriptors.flatMap { descriptor in
                switch descriptor {
                case .eventfd(let number): words(UInt32(bitPattern: try eventfd(number).rawValue))
                case .raw(let raw): words(UInt32(bitPattern: raw))
                case .otherFile: words(UInt32(bitPattern: try #require(container).rawValue))
                }
            }
            (flags, count) = (4, UInt32(descriptors.count))
        case .malformed(let given, let number): (flags, count, data) = (given, number, [0, 0, 0, 0])
        }
        flags |= action.rawValue
        let argsz = size ?? UInt32(20 + data.count)
        return [argsz, flags, index.rawValue, start, count].flatMap(words) + data
    }

    private func words(_ word: UInt32) -> [UInt8] {
        (0..<4).map { UInt8(truncatingIfNeeded: word >> (8 * $0)) }
    }

    private func expect(_ outcome: VFIORule.Outcome, _ text: String, _ body: () throws -> Void) throws {
        try expectResult(outcome, text) {
            try body()
            return 0
        }
    }

    private func expectResult(_ outcome: VFIORule.Outcome, _ text: String, _ body: () throws -> Int) throws {
        let seen: String
        do {
            let result = try body()
            seen = result == 0 ? "ok" : "available \(result)"
        } catch let error as KernelError {
            seen = error.errno.name
        }
        let expected = resolve(outcome)
        #expect(expected.contains(seen), "\(text)")
        // What comes after rests on this step.
        if !expected.contains(seen) { throw RuleBroken() }
    }

    private func resolve(_ outcome: VFIORule.Outcome) -> [String] {
        switch outcome {
        case .ok: ["ok"]
        case .available(let count): ["available \(count)"]
        case .errno(let name): [name]
        case .either(let one, let other): resolve(one) + resolve(other)
        case .when(.linux6dot5, let yes, let no): resolve(host.isLinux6dot5 ? yes : no)
        case .when(.linux7dot3, let yes, let no): resolve(host.isLinux7dot3 ? yes : no)
        case .when(.interruptRemapping, let yes, let no): resolve(host.remapsInterrupts ? yes : no)
        }
    }

    private struct RuleBroken: Error {}
}

extension EventFD {
    /// Waits until the count is above 0, at most ten seconds: an interrupt of a device takes its time.
    fileprivate func expectSignal(_ text: String) throws {
        var entry = pollfd(fd: rawValue, events: Int16(POLLIN), revents: 0)
        #expect(poll(&entry, 1, 10_000) == 1, "\(text)")
    }
}
