internal import PCI
internal import Passthrough
internal import Varlink
internal import VfiodAPI

extension VarlinkMethod {
    /// io.vfiod.Attach.
    static func attach(_ host: any DeviceOperations, _ audit: AuditLog) -> VarlinkMethod {
        VarlinkMethod { (asked: Attach.Parameters, call) async throws(VarlinkError) -> Attach.Reply in
            let address = try await host.device(DeviceSelector(parameter: asked.device))
            let owner = try LeaseOwner(asked)
            guard let mode = LeaseMode(rawValue: asked.mode ?? LeaseMode.descriptors.rawValue) else {
                throw .invalidParameter("mode")
            }
            let consent = try Set<Consent>(parameter: asked.consent)
            let dryRun = asked.dryRun ?? false
            let attach = { () async throws(PassthroughError) in
                try await host.attach(address, to: owner, mode, consent: consent, dryRun: dryRun)
            }
            let (lease, plan) =
                dryRun
                ? try await answering(attach) : try await audit.record("attach", address.description, by: call, attach)
            return Attach.Reply(
                device: address.description, lease: lease.map(Wire.Lease.init), plan: Wire.Plan(plan))
        }
    }

    /// io.vfiod.Detach.
    static func detach(_ host: any DeviceOperations, _ audit: AuditLog) -> VarlinkMethod {
        VarlinkMethod { (asked: Detach.Parameters, call) async throws(VarlinkError) -> Detach.Reply in
            let address = try await host.device(DeviceSelector(parameter: asked.device))
            let dryRun = asked.dryRun ?? false
            let detach = { () async throws(PassthroughError) in
                try await host.detach(address, dryRun: dryRun) { line in
                    call.send(Detach.Reply(plan: nil, progress: line))
                }
            }
            let plan =
                dryRun
                ? try await answering(detach) : try await audit.record("detach", address.description, by: call, detach)
            return Detach.Reply(plan: Wire.Plan(plan), progress: nil)
        }
    }

    /// io.vfiod.Leases.
    static func leases(_ host: any DeviceOperations) -> VarlinkMethod {
        VarlinkMethod { (_: Leases.Parameters, _) async throws(VarlinkError) -> Leases.Reply in
            Leases.Reply(leases: await host.leases().map(Wire.Lease.init))
        }
    }
}

extension LeaseOwner {
    /// Reads the parameters `uid` and `gid`. The highest number of 32 bits is nobody's (chown(2)).
    fileprivate init(_ asked: Attach.Parameters) throws(VarlinkError) {
        guard let user = UInt32(exactly: asked.uid), user != .max else { throw .invalidParameter("uid") }
        var group: UInt32?
        if let asked = asked.gid {
            group = UInt32(exactly: asked)
            guard group != nil, group != .max else { throw .invalidParameter("gid") }
        }
        self.init(user: user, group: group)
    }
}

extension Wire.Lease {
    fileprivate init(_ lease: Lease) {
        self.init(
            iommuGroup: lease.iommuGroup, uid: Int(lease.owner.user), gid: lease.owner.group.map(Int.init),
            mode: lease.mode.rawValue, mapsBars: lease.mapsBARs, devices: lease.devices.map(Wire.LeasedDevice.init),
            mappings: lease.mappings,
            mappedBytes: Int(clamping: lease.mappedBytes))
    }
}

extension Wire.LeasedDevice {
    fileprivate init(_ device: LeasedDevice) {
        self.init(
            device: device.address.description, socket: device.socketPath, state: device.state.rawValue,
            session: device.session.map {
                Wire.SessionPeer(processId: $0.processID, uid: Int($0.user), gid: Int($0.group))
            }, holders: device.holders.map(Wire.Holder.init), failure: device.failure)
    }
}
