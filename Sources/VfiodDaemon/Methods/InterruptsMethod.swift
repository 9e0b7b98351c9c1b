internal import PCI
internal import Passthrough
internal import Varlink
internal import VfiodAPI

extension VarlinkMethod {
    /// io.vfiod.Interrupts.
    static func interrupts(_ host: any DeviceOperations) -> VarlinkMethod {
        VarlinkMethod { (asked: Interrupts.Parameters, _) async throws(VarlinkError) -> Interrupts.Reply in
            let address = try await host.device(DeviceSelector(parameter: asked.device))
            let groups = try await answering { () async throws(PassthroughError) in
                try await host.interrupts(address)
            }
            return Interrupts.Reply(groups: groups.map(Wire.InterruptGroup.init))
        }
    }
}
