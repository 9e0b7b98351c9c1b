internal import PCI
internal import Passthrough
internal import Varlink
internal import VfiodAPI

extension VarlinkMethod {
    /// io.vfiod.Describe.
    static func describe(_ host: any DeviceOperations) -> VarlinkMethod {
        VarlinkMethod { (asked: Describe.Parameters, _) async throws(VarlinkError) -> Describe.Reply in
            let address = try await host.device(DeviceSelector(parameter: asked.device))
            let details = try await answering { () async throws(PassthroughError) in
                try await host.describe(address)
            }
            return Describe.Reply(details: Wire.Details(details))
        }
    }
}
