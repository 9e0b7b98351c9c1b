internal import Passthrough
internal import Varlink
internal import VfiodAPI

extension VarlinkMethod {
    /// io.vfiod.List.
    static func list(_ host: any DeviceOperations) -> VarlinkMethod {
        VarlinkMethod { (_: List.Parameters, _) async throws(VarlinkError) -> List.Reply in
            let devices = try await answering { () async throws(PassthroughError) in try await host.list() }
            return List.Reply(devices: devices.map(Wire.Device.init))
        }
    }
}
