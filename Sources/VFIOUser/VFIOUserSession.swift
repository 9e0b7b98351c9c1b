internal import LinuxSystem
public import SystemPackage

/// The server's side of one connection: answers one message after the other, without any I/O of its own.
///
/// A region that does not answer reads as all ones, as from a bus, and what is written to it is lost. How what is refused is
/// answered stands in VFIOUserRequest+Neutral.swift.
public struct VFIOUserSession: Sendable {
    /// What this server takes.
    public struct Limits: Hashable, Sendable {
        /// The most data of one read or write, bytes. A client reads an expansion ROM in one message.
        public var transfer = 16 << 20
        /// The most ranges of memory.
        public var mappings = 4096

        /// The defaults.
        public init() {}

        /// The longest message, bytes: a write with its header.
        public var message: Int { transfer + VFIOUserHeader.size + 16 }
    }

    // A client of 16 refuses more (QEMU), and takes no notice of fewer.
    private static let descriptors = 16
    private static let pageSizes: UInt64 = 4096

    /// The minor version that was agreed on; nil before that.
    public private(set) var minorVersion: UInt16?
    private let device: any VFIOUserDevice
    private let limits: Limits
    private let report: @Sendable (VFIOUserCommand?, Errno) -> Void

    /// Serves `device` on a new connection. `report` is told of what failed.
    public init(
        _ device: any VFIOUserDevice, limits: Limits = Limits(),
        report: @escaping @Sendable (VFIOUserCommand?, Errno) -> Void = { _, _ in }
    ) {
        (self.device, self.limits, self.report) = (device, limits, report)
    }

    /// Carries out what a message asks for. Returns the answer; nil if none is wanted.
    public mutating func answer(_ message: VFIOUserMessage) async -> VFIOUserAnswer? {
        let header = message.header
        var request: VFIOUserRequest?
        let answer: VFIOUserAnswer
        do throws(Errno) {
            let sound = try VFIOUserRequest(message, transferLimit: limits.transfer)
            request = sound
            answer = VFIOUserAnswer(
                to: header, try await carryOut(sound, message), try await descriptor(for: sound))
        } catch {
            report(VFIOUserCommand(rawValue: header.command), error)
            let neutral = minorVersion ?? 0 > 0 ? request?.neutralPayload : nil
            answer = neutral.map { VFIOUserAnswer(to: header, $0) } ?? VFIOUserAnswer(to: header, refusing: error)
        }
        return header.wantsNoReply ? nil : answer
    }

    private mutating func carryOut(
        _ request: VFIOUserRequest, _ message: VFIOUserMessage
    ) async throws(Errno) -> [UInt8] {
        if case .version(let proposed) = request { return try agree(on: proposed) }
        guard minorVersion != nil else { throw .invalidArgument }
        switch request {
        case .version: return []
        case .map(let iova, let size, let offset, let isWritable):
            try await device.map(
                iova: iova, size: size, message.descriptors, at: offset, isWritable: isWritable)
            return []
        case .unmap(let range, let echo):
            try await device.unmap(range)
            return echo
        case .info: return infoReply(try await device.describe())
        case .regionInfo(let index, let room):
            return try regionReply(index, room: room, try await device.describe())
        case .irqInfo(let index): return try irqReply(index, try await device.describe())
        case .setIRQs(let request):
            try check(request, message, try await device.describe())
            try await device.setIRQs(request, message.descriptors)
            return []
        case .read(let access, let count):
            try check(access, count, try await device.describe(), \.isReadable)
            return access.place(count) + (await read(access, count))
        case .write(let access, let bytes):
            try check(access, bytes.count, try await device.describe(), \.isWritable)
            await write(bytes, access)
            return access.place(bytes.count)
        case .writeMulti(let writes):
            let description = try await device.describe()
            for (access, bytes) in writes { try check(access, bytes.count, description, \.isWritable) }
            for (access, bytes) in writes { await write(bytes, access) }
            var writer = PayloadWriter()
            writer.add(UInt64(writes.count))
            return writer.bytes
        case .reset:
            try await device.reset()
            return []
        }
    }

    /// What goes with the answer to a sound request, each time: a client that asks twice, with more room, closes the first.
    private func descriptor(for request: VFIOUserRequest) async throws(Errno) -> SharedDescriptor? {
        guard case .regionInfo(let index, _) = request,
            try await device.describe().regions[at: index]?.mapping != nil
        else { return nil }
        return try await device.descriptor()
    }

    private mutating func agree(on proposed: VFIOUserVersion) throws(Errno) -> [UInt8] {
        guard minorVersion == nil, proposed.major == VFIOUserVersion.current.major else {
            throw .invalidArgument
        }
        let minor = min(proposed.minor, VFIOUserVersion.current.minor)
        minorVersion = minor
        return VFIOUserVersion(
            major: VFIOUserVersion.current.major, minor: minor,
            capabilities: VFIOUserCapabilities(
                maximumDescriptors: VFIOUserSession.descriptors, maximumTransfer: limits.transfer,
                pageSizes: VFIOUserSession.pageSizes, maximumMappings: limits.mappings)
        ).payload
    }

    private func read(_ access: VFIOUserAccess, _ count: Int) async -> [UInt8] {
        do throws(Errno) {
            return try await device.read(access, count: count)
        } catch {
            report(.regionRead, error)
            return [UInt8](repeating: 0xff, count: count)
        }
    }

    private func write(_ bytes: [UInt8], _ access: VFIOUserAccess) async {
        do throws(Errno) { try await device.write(bytes, access) } catch { report(.regionWrite, error) }
    }

    private func check(
        _ access: VFIOUserAccess, _ count: Int, _ description: VFIOUserDeviceDescription,
        _ isAllowed: KeyPath<VFIOUserDeviceDescription.Region, Bool>
    ) throws(Errno) {
        guard let region = description.regions[at: access.region], region[keyPath: isAllowed],
            region.contains(access.offset, count)
        else { throw .invalidArgument }
    }

    private func check(
        _ request: VFIOUserSetIRQs, _ message: VFIOUserMessage, _ description: VFIOUserDeviceDescription
    ) throws(Errno) {
        guard let irq = description.irqs[at: request.index], irq.count > 0, request.start + request.count <= irq.count
        else { throw .invalidArgument }
        let given = message.descriptors?.rawValues.count ?? 0
        // None at all takes away those that there are.
        guard given == 0 || request.data == .eventfds && given == Int(request.count) else { throw .invalidArgument }
    }
}

// What the device has, in the structures of linux/vfio.h.
extension VFIOUserSession {
    private static let deviceFlags: (reset: UInt32, pci: UInt32) = (1, 2)
    private static let regionFlags: (read: UInt32, write: UInt32, map: UInt32, capabilities: UInt32) = (1, 2, 4, 8)
    private static let areasCapability: (id: UInt16, version: UInt16) = (1, 1)
    private static let irqFlags: (eventfd: UInt32, maskable: UInt32, automasked: UInt32, noResize: UInt32) = (
        1, 2, 4, 8
    )

    private func infoReply(_ description: VFIOUserDeviceDescription) -> [UInt8] {
        var writer = PayloadWriter()
        let flags = VFIOUserSession.deviceFlags
        writer.add(UInt32(16))
        writer.add(flags.pci | (description.canReset ? flags.reset : 0))
        writer.add(UInt32(clamping: description.regions.count))
        writer.add(UInt32(clamping: description.irqs.count))
        return writer.bytes
    }

    /// The structure, and behind it the areas that may be mapped, as a capability (VFIO_REGION_INFO_CAP_SPARSE_MMAP): only where
    /// the client has the room for it; how much that would be, it is told in any case.
    private func regionReply(
        _ index: UInt32, room: UInt32, _ description: VFIOUserDeviceDescription
    ) throws(Errno) -> [UInt8] {
        guard let region = description.regions[at: index] else { throw .invalidArgument }
        let areas = region.mapping.map(VFIOUserSession.capability) ?? []
        let whole = VFIOUserRequest.regionInfoSize + UInt32(clamping: areas.count)
        let fits = !areas.isEmpty && room >= whole
        var writer = PayloadWriter()
        let flags = VFIOUserSession.regionFlags
        writer.add(whole)
        writer.add(
            (region.isReadable ? flags.read : 0) | (region.isWritable ? flags.write : 0)
                | (areas.isEmpty ? 0 : flags.map) | (fits ? flags.capabilities : 0))
        writer.add(index)
        writer.add(fits ? VFIOUserRequest.regionInfoSize : 0)
        writer.add(region.size)
        writer.add(region.mapping?.fileOffset ?? 0)
        return writer.bytes + (fits ? areas : [])
    }

    private static func capability(_ mapping: VFIOUserDeviceDescription.Mapping) -> [UInt8] {
        var writer = PayloadWriter()
        writer.add(areasCapability.id)
        writer.add(areasCapability.version)
        writer.add(UInt32(0))
        writer.add(UInt32(clamping: mapping.areas.count))
        writer.add(UInt32(0))
        for area in mapping.areas {
            writer.add(area.offset)
            writer.add(area.size)
        }
        return writer.bytes
    }

    private func irqReply(_ index: UInt32, _ description: VFIOUserDeviceDescription) throws(Errno) -> [UInt8] {
        guard let irq = description.irqs[at: index] else { throw .invalidArgument }
        // A client asks for these two to find out whether there are any, and takes an answer for a yes.
        if index >= 3, irq.count == 0 { throw .invalidArgument }
        var writer = PayloadWriter()
        let flags = VFIOUserSession.irqFlags
        writer.add(UInt32(16))
        writer.add(
            irq.count == 0
                ? 0
                : flags.eventfd | (irq.isMaskable ? flags.maskable : 0) | (irq.isAutomasked ? flags.automasked : 0)
                    | (irq.isResizable ? 0 : flags.noResize))
        writer.add(index)
        writer.add(irq.count)
        return writer.bytes
    }
}

extension Array {
    fileprivate subscript(at index: UInt32) -> Element? {
        Int(exactly: index).flatMap { indices.contains($0) ? self[$0] : nil }
    }
}
