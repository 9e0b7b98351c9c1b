internal import ArgumentParser
internal import VfiodAPI

struct ShowVerb: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Show all there is to know about a device.",
        discussion: """
            What it is, where it sits, what it can do, its IOMMU group, who has it open and what the host uses it for, \
            what was recorded when it was bound, the operation that runs on it, and what a bind would do and meet.

              vfioctl show 00:11.0
            """,
        aliases: ["describe"])

    @OptionGroup var common: CommonOptions
    @Argument(help: DeviceArgument.help) var device: DeviceArgument

    func run() throws {
        let reply = try common.call(Describe.self, Describe.Parameters(device: device.text))
        try common.show(reply) { ShowVerb.text(reply.details) }
    }

    static func text(_ details: Wire.Details) -> String {
        let sections = [
            identity(details), state(details), capability(details), iommuGroup(details), use(details), plan(details),
        ]
        return sections.joined().map { $0 + "\n" }.joined()
    }

    private static func identity(_ details: Wire.Details) -> [String] {
        let device = details.device
        return [
            "\(device.address)  \(device.name)",
            line("class", "\(device.className) (\(device.classCode))"),
            line(
                "id",
                "\(device.vendorId):\(device.deviceId), subsystem "
                    + "\(details.subsystemVendorId):\(details.subsystemDeviceId), revision \(details.revision)"),
        ]
            + line("called", ifAny: device.configuredName)
            + line("serial number", ifAny: details.serialNumber)
            + line("slot", ifAny: details.slot)
            + line("path", ifAny: details.path.count > 1 ? details.path.joined(separator: " > ") : nil)
            + line("NUMA node", ifAny: details.numaNode.map(String.init))
    }

    private static func state(_ details: Wire.Details) -> [String] {
        let isUnread = Set(details.unread)
        let override = isUnread.contains("driver_override") ? "not known" : details.driverOverride ?? "none"
        var lines = [
            line("state", details.device.state), line("driver", details.device.driver ?? "none"),
            line("override", override),
        ]
        let power = [details.powerState, details.powerControl.map { "power/control \($0)" }].compactMap(\.self)
        if !power.isEmpty { lines.append(line("power", power.joined(separator: ", "))) }
        if let command = details.command {
            let flags = [
                ("I/O", command.io), ("memory", command.memory), ("bus master", command.busMaster),
                ("INTx", !command.intxDisabled),
            ]
            lines.append(line("command", flags.map { "\($0) \($1 ? "on" : "off")" }.joined(separator: ", ")))
        } else if details.device.state != "gone" {
            lines.append(line("command", isUnread.contains("config") ? "not known" : "the device does not answer"))
        }
        if let link = details.link {
            lines.append(line("link", "\(link.speed) x\(link.width) of \(link.maxSpeed) x\(link.maxWidth)"))
        }
        if let operation = details.operation {
            lines.append(
                line("running", "\(operation.name), at \(operation.step)" + (operation.note.map { ": \($0)" } ?? "")))
        }
        if !isUnread.isEmpty, details.operation == nil, details.device.state != "gone" {
            lines.append(line("no answer for", details.unread.joined(separator: " ")))
        }
        return lines
    }

    private static func capability(_ details: Wire.Details) -> [String] {
        let device = details.device
        var lines = [
            line("interrupts", "INTx \(device.intx), MSI \(device.msi), MSI-X \(device.msix)"),
            line(
                "reset methods",
                details.resetMethods.isEmpty ? "none" : details.resetMethods.joined(separator: " ")),
        ]
        if let total = details.totalVirtualFunctions {
            lines.append(line("SR-IOV", "\(details.virtualFunctions ?? 0) of \(total) virtual functions"))
            lines += details.virtualFunctionAddresses.map { "  \($0)" }
        }
        lines += line("virtual of", ifAny: details.physicalFunction)
        if !details.regions.isEmpty { lines.append("regions") }
        for region in details.regions {
            let kind = [region.space, region.wide ? "64-bit" : nil, region.prefetchable ? "prefetchable" : nil]
            lines.append(
                "  \(region.index == 6 ? "ROM" : "BAR \(region.index)")  0x\(region.address)  \(size(region.size))  "
                    + kind.compactMap(\.self).joined(separator: ", "))
        }
        let names = details.capabilities.map { $0.name ?? ($0.extended ? "extended \($0.id)" : $0.id) }
        if !names.isEmpty { lines.append(line("capabilities", counted(names).joined(separator: ", "))) }
        return lines
    }

    /// Each name once, with how often it is there if more than once, in the order of their first.
    private static func counted(_ names: [String]) -> [String] {
        var counts: [(name: String, count: Int)] = []
        for name in names {
            if let index = counts.firstIndex(where: { $0.name == name }) {
                counts[index].count += 1
            } else {
                counts.append((name, 1))
            }
        }
        return counts.map { $0.count == 1 ? $0.name : "\($0.count) \($0.name)" }
    }

    private static func iommuGroup(_ details: Wire.Details) -> [String] {
        [line("IOMMU group", details.device.iommuGroup.map(String.init) ?? "none")]
            + details.iommuGroupMembers.map { member in
                let owner = member.onBehalfOf.map { ", on behalf of \($0)" } ?? ""
                return "  \(member.address)  \(member.driver ?? "no driver")\(owner)"
            }
            + details.reservedRegions.map { "  reserved 0x\($0.first) to 0x\($0.last), \($0.kind)" }
    }

    private static func use(_ details: Wire.Details) -> [String] {
        var lines: [String] = []
        for holder in details.holders {
            let descriptors = holder.descriptors.map(String.init).joined(separator: " ")
            lines.append(
                line(
                    "held by",
                    "process \(holder.processId) (\(holder.command))" + (holder.unit.map { " of \($0)" } ?? "")
                        + (descriptors.isEmpty ? "" : ", descriptors \(descriptors)")))
        }
        if let quarantine = details.quarantine {
            lines += [
                line("quarantined", quarantine),
                "  remedy: vfioctl reset \(details.device.address), then vfioctl release \(details.device.address)",
            ]
        }
        for blocker in details.notes {
            lines += [line("note", "\(blocker.message) [\(blocker.code)]"), "  remedy: \(blocker.remedy)"]
        }
        for blocker in details.drift {
            lines += [line("drift", blocker.message), "  remedy: \(blocker.remedy)"]
        }
        lines += details.hostUses.map { line("used by host", $0.message) }
        guard let recorded = details.recorded else { return lines }
        lines.append("recorded at bind, put back at restore")
        return lines + recorded.sorted { $0.key < $1.key }.map { "  \($0) = \($1)" }
    }

    private static func plan(_ details: Wire.Details) -> [String] {
        if details.device.state == "gone" { return [] }
        let plan = planText(details.bindPlan)
        return [plan.isEmpty ? "bind would have nothing to do" : "bind would do or meet"]
            + plan.split(separator: "\n").map { "  \($0)" }
    }

    private static func line(_ name: String, _ value: String) -> String {
        padded(name, 15) + value
    }

    private static func line(_ name: String, ifAny value: String?) -> [String] {
        value.map { [line(name, $0)] } ?? []
    }
}
