internal import ArgumentParser
internal import Varlink
internal import VfiodAPI

struct LeasesVerb: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "leases", abstract: "Show which devices are given to whom, and who uses or holds them.",
        discussion: """
            One line per device. STATE is idle, in-use, ending, held (somebody has it open although no session is left: it is \
            given to nobody until that ends), quarantined (its last session did not end well: look at it and release it) or \
            failed (it did not open: detach it). BARS is how a VMM reaches the registers of its device by vfio-user: mapped (it \
            has the device's descriptor) or trapped (each access goes through vfiod).

              vfioctl leases
            """)

    @OptionGroup var common: CommonOptions

    func run() throws {
        let reply = try common.call(Leases.self, NoParameters())
        try common.show(reply) { LeasesVerb.text(reply) }
    }

    static func text(_ reply: Leases.Reply) -> String {
        var table = Table(
            ["DEVICE", "GROUP", "UID", "GID", "MODE", "BARS", "STATE", "PROCESS"], rightAligned: [1, 2, 3])
        var notes = ""
        for lease in reply.leases {
            for device in lease.devices {
                table.add([
                    device.device, "\(lease.iommuGroup)", "\(lease.uid)", lease.gid.map(String.init) ?? "-", lease.mode,
                    bars(lease), device.state, process(device),
                ])
                if let failure = device.failure { notes += "\(device.device) \(device.state): \(failure)\n" }
            }
        }
        return table.text + (notes.isEmpty ? "" : "\n" + notes)
    }

    /// How a VMM reaches the registers.
    private static func bars(_ lease: Wire.Lease) -> String {
        lease.mode == AttachVerb.vfioUser ? lease.mapsBars ? "mapped" : "trapped" : "-"
    }

    /// Who uses the device, or else who holds it.
    private static func process(_ device: Wire.LeasedDevice) -> String {
        if let session = device.session { return "\(session.processId)" }
        if device.holders.isEmpty { return "-" }
        return device.holders.map { holder in
            "\(holder.processId) (\(holder.command))" + (holder.unit.map { " of \($0)" } ?? "")
        }.joined(separator: ", ")
    }
}
