internal import ArgumentParser
internal import VfiodAPI

struct InterruptsVerb: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "interrupts", abstract: "Show the interrupt source groups of a device.",
        discussion: """
            One line per type; with a line per vector where the group is live. HOST IRQ and COUNT are those of \
            /proc/interrupts.

              vfioctl interrupts 00:11.0
            """)

    @OptionGroup var common: CommonOptions
    @Argument(help: DeviceArgument.help) var device: DeviceArgument

    func run() throws {
        let reply = try common.call(Interrupts.self, Interrupts.Parameters(device: device.text))
        try common.show(reply) { InterruptsVerb.text(reply) }
    }

    static func text(_ reply: Interrupts.Reply) -> String {
        var table = Table(["TYPE", "VECTORS", "STATE"], rightAligned: [1])
        var vectors = Table(
            ["TYPE", "VECTOR", "WIRED", "MASKED", "PENDING", "HOST IRQ", "COUNT"], rightAligned: [1, 5, 6])
        for group in reply.groups {
            table.add([group.type, "\(group.count)", group.state])
            for vector in group.vectors {
                vectors.add([
                    group.type, "\(vector.index)", word(vector.wired), word(vector.masked), word(vector.pending),
                    vector.hostInterrupt.map(String.init) ?? "-", vector.hostCount.map(String.init) ?? "-",
                ])
            }
        }
        return table.text + (reply.groups.allSatisfy(\.vectors.isEmpty) ? "" : "\n" + vectors.text)
    }

    private static func word(_ value: Bool) -> String { value ? "yes" : "no" }
}
