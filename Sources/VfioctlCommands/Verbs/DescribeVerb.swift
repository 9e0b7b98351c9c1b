internal import ArgumentParser
internal import VfiodAPI

struct DescribeVerb: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "describe", abstract: "Show all there is to know about a device.",
        discussion: """
            With its IOMMU group, what was recorded when it was bound, the operation that runs on it, and what a bind \
            would do and meet.

              vfioctl describe 00:11.0
            """,
        aliases: ["show"])

    @OptionGroup var common: CommonOptions
    @Argument(help: DeviceArgument.help) var device: DeviceArgument

    func run() throws {
        let reply = try common.call(Describe.self, Describe.Parameters(device: device.address))
        try common.show(reply) { DescribeVerb.text(reply.details) }
    }

    static func text(_ details: Wire.Details) -> String {
        let device = details.device
        var lines = [
            "\(device.address)  \(device.name)",
            "class          \(device.className) (\(device.classCode))",
            "id             \(device.vendorId):\(device.deviceId), subsystem "
                + "\(details.subsystemVendorId):\(details.subsystemDeviceId), revision \(details.revision)",
            "state          \(device.state)",
            "driver         \(device.driver ?? "none")",
            "override       \(details.driverOverride ?? "none")",
            "interrupts     INTx \(device.intx), MSI \(device.msi), MSI-X \(device.msix)",
            "reset methods  " + (details.resetMethods.isEmpty ? "none" : details.resetMethods.joined(separator: " ")),
        ]
        if let node = details.numaNode { lines.append("NUMA node      \(node)") }
        if let power = details.powerControl { lines.append("power/control  \(power)") }
        if let total = details.totalVirtualFunctions {
            lines.append("SR-IOV         \(details.virtualFunctions ?? 0) of \(total) virtual functions")
        }
        lines.append("IOMMU group    \(device.iommuGroup.map(String.init) ?? "none")")
        for member in details.iommuGroupMembers {
            lines.append("  \(member.address)  \(member.driver ?? "no driver")")
        }
        if let recorded = details.recorded {
            lines.append("recorded at bind, put back at restore")
            for (name, value) in recorded.sorted(by: { $0.key < $1.key }) { lines.append("  \(name) = \(value)") }
        }
        if let operation = details.operation {
            lines.append(
                "running        \(operation.name), at \(operation.step)" + (operation.note.map { ": \($0)" } ?? ""))
        }
        let plan = planText(details.bindPlan)
        lines.append(plan.isEmpty ? "bind would have nothing to do" : "bind would do or meet")
        return lines.map { $0 + "\n" }.joined()
            + plan.split(separator: "\n").map { "  \($0)\n" }.joined()
    }
}
