internal import InterruptSources
internal import LinuxSystem
internal import PCI
internal import Passthrough
internal import SystemPackage
internal import Varlink
internal import VfiodAPI

/// The methods of io.vfiod.lease, over the session of who is connected.
func sessionMethods(_ server: LeaseServer) -> [String: VarlinkMethod] {
    [
        Session.Describe.name: VarlinkMethod { [weak server] (_: NoParameters, _) async throws(VarlinkError) in
            try await server.asked { (session) async throws(LeaseError) in
                Session.Describe.Reply(try await session.describe())
            }
        },
        Session.OpenDevice.name: VarlinkMethod(taking: { (_: NoParameters) in 0 }) {
            [weak server] (_, _) async throws(VarlinkError) in
            (
                NoParameters(),
                [try await server.asked { (session) async throws(LeaseError) in try await session.openDevice() }]
            )
        },
        Session.Reset.name: VarlinkMethod { [weak server] (_: NoParameters, _) async throws(VarlinkError) in
            try await server.asked { (session) async throws(LeaseError) in try await session.reset() }
            return NoParameters()
        },
        Session.MapMemory.name: VarlinkMethod(taking: { (_: Session.MapMemory.Parameters) in 1 }) {
            [weak server] (asked, call) async throws(VarlinkError) in
            let offset = try unsigned(asked.offset, "offset")
            let (iova, size) = (try unsigned(asked.iova, "iova"), try unsigned(asked.size, "size"))
            try await server.asked { (session) async throws(LeaseError) in
                try await session.map(
                    try DMARange(first: iova, size: size), try memory(call), at: offset, writable: asked.writable,
                    patience: nil)
            }
            return (NoParameters(), [])
        },
        Session.UnmapMemory.name: VarlinkMethod {
            [weak server] (asked: Session.UnmapMemory.Parameters, _) async throws(VarlinkError) in
            let (iova, size) = (try unsigned(asked.iova, "iova"), try unsigned(asked.size, "size"))
            try await server.asked { (session) async throws(LeaseError) in
                try await session.unmap(try DMARange(first: iova, size: size))
            }
            return NoParameters()
        },
    ].merging(sessionInterruptMethods(server)) { first, _ in first }
}

/// The one descriptor of a call as memory.
private func memory(_ call: VarlinkCall) throws(LeaseError) -> MemoryFile {
    do throws(KernelError) {
        guard let descriptors = call.descriptors else {
            throw KernelError("memory", on: "none came", .badFileDescriptor)
        }
        return try descriptors.memory(at: 0)
    } catch {
        throw .badMemory("\(error)")
    }
}

private func unsigned(_ number: Int, _ parameter: String) throws(VarlinkError) -> UInt64 {
    guard let value = UInt64(exactly: number) else { throw .invalidParameter(parameter) }
    return value
}

extension LeaseServer? {
    /// Asks the session of who is connected.
    func asked<Value>(
        _ body: (any DeviceSession) async throws(LeaseError) -> Value
    ) async throws(VarlinkError) -> Value {
        guard let server = self else { throw .methodNotImplemented(SessionInterface.name) }
        let session = try await server.session()
        do throws(LeaseError) {
            return try await body(session)
        } catch {
            throw VarlinkError(error, server.address)
        }
    }

    /// Asks something of the interrupts of its device.
    func interrupts<Value: Sendable>(
        _ body: @escaping @Sendable (DeviceInterrupts) throws(InterruptError) -> Value
    ) async throws(VarlinkError) -> Value {
        try await asked { (session) async throws(LeaseError) in try await session.interrupts(body) }
    }
}

extension Session.Describe.Reply {
    fileprivate init(_ device: SessionDevice) {
        self.init(
            device: device.address.description, canReset: device.canReset,
            regions: device.regions.map {
                Session.Region(
                    index: $0.index, offset: Int(clamping: $0.offset), size: Int(clamping: $0.size),
                    readable: $0.isReadable, writable: $0.isWritable, mappable: $0.isMappable)
            }, intx: device.interrupts.legacy, msi: device.interrupts.msi, msix: device.interrupts.msix)
    }
}
