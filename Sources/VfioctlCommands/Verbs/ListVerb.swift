internal import ArgumentParser
internal import LinuxSystem
internal import Varlink
internal import VfiodAPI

struct ListVerb: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "Show the PCI devices of this host.",
        discussion: """
            One line per function: its driver, its IOMMU group, how many vectors it has of each interrupt type, and \
            whether it is available, bound, busy, foreign (bound to VFIO by somebody else) or gone (removed from the host \
            while vfiod had it); and what the configuration calls it. On a terminal, lines are cut to its width.

              vfioctl list --json | jq -r '.devices[] | select(.state == "bound").address'
            """)

    @OptionGroup var common: CommonOptions

    func run() throws {
        let reply = try common.call(List.self, NoParameters())
        try common.show(reply) { ListVerb.text(reply, width: terminalWidth()) }
    }

    static func text(_ reply: List.Reply, width: Int? = nil) -> String {
        // Most hosts have none.
        let areNamed = reply.devices.contains { $0.configuredName != nil }
        var table = Table(
            ["ADDRESS", "STATE", "DRIVER", "GROUP", "INTX", "MSI", "MSI-X", "ID"] + (areNamed ? ["CALLED"] : [])
                + ["NAME"], rightAligned: [3, 4, 5, 6])
        for device in reply.devices {
            table.add(
                [
                    device.address, device.state, device.driver ?? "-", device.iommuGroup.map(String.init) ?? "-",
                    "\(device.intx)", "\(device.msi)", "\(device.msix)", "\(device.vendorId):\(device.deviceId)",
                ] + (areNamed ? [device.configuredName ?? "-"] : []) + [device.name])
        }
        return table.text(width: width)
    }
}
