internal import PCI
internal import Passthrough
internal import Varlink
internal import VfiodAPI

extension VarlinkMethod {
    /// io.vfiod.Release.
    static func release(_ host: any DeviceOperations, _ audit: AuditLog) -> VarlinkMethod {
        VarlinkMethod { (asked: Release.Parameters, call) async throws(VarlinkError) -> Release.Reply in
            let address = try await host.device(DeviceSelector(parameter: asked.device))
            try await audit.record("release", address.description, by: call) { () async throws(PassthroughError) in
                try await host.release(address)
            }
            return Release.Reply()
        }
    }
}
