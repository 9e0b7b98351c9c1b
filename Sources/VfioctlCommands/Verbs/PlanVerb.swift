internal import ArgumentParser
internal import VfiodAPI

struct PlanVerb: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "plan", abstract: "Show what an operation would do, and all that stands against it.",
        discussion: """
            Changes nothing. Each blocker comes with what was seen, what would clear it, and whether --consent overrides it.

              vfioctl plan bind 00:11.0
              vfioctl plan bind 00:11.0 --consent network-address
              vfioctl plan restore 00:11.0
              vfioctl plan reset 00:11.0

            EXIT STATUS: 0 if nothing stands against it, or --consent covers all that does; 1 if not, or if it cannot be \
            planned.
            """)

    @OptionGroup var common: CommonOptions
    @Argument(help: ArgumentHelp("The operation: bind, restore, reset or attach.", valueName: "operation"))
    var operation: String
    @Argument(help: DeviceArgument.help) var device: DeviceArgument
    @Option(help: ArgumentHelp("A blocker to override; may be given more than once.", valueName: "code"))
    var consent: [String] = []

    func run() throws {
        let parameters = PlanOperation.Parameters(operation: operation, device: device.text, consent: consent)
        let reply = try common.call(PlanOperation.self, parameters)
        try common.show(reply) { PlanVerb.text(reply) }
        if !reply.refusedBy.isEmpty { throw ExitStatus.failed }
    }

    static func text(_ reply: PlanOperation.Reply) -> String {
        let plan = reply.plan
        if plan.steps.isEmpty && plan.blockers.isEmpty { return "There is nothing to do.\n" }
        var text = ""
        if !plan.steps.isEmpty {
            var table = Table(["STEP", "ACTION", "TARGET", "VALUE"], rightAligned: [0])
            for (index, step) in plan.steps.enumerated() {
                table.add(["\(index + 1)", step.action, step.target, step.value.map(shown) ?? "-"])
            }
            text += table.text + "\n"
        }
        text += blockers(reply)
        let verdict =
            if plan.blockers.isEmpty {
                "Nothing stands against it."
            } else if reply.refusedBy.isEmpty {
                "All that stands against it is consented to."
            } else if reply.refusedBy.allSatisfy(\.consent) {
                "It needs consent: " + reply.refusedBy.map(consentOption).joined(separator: " ")
            } else {
                "It would be refused."
            }
        return text + verdict + "\n"
    }

    /// A table of the blockers, with what there is to say about each below its row.
    private static func blockers(_ reply: PlanOperation.Reply) -> String {
        if reply.plan.blockers.isEmpty { return "" }
        var table = Table(["BLOCKER", "MEMBER", "CONSENT"])
        for blocker in reply.plan.blockers {
            let consent =
                reply.refusedBy.contains(blocker) ? blocker.consent ? consentOption(blocker) : "never" : "given"
            table.add([blocker.code, blocker.member ?? "-", consent])
        }
        let rows = table.text.split(separator: "\n")
        var lines = rows.prefix(1).map(String.init)
        for (row, blocker) in zip(rows.dropFirst(), reply.plan.blockers) {
            lines += [
                String(row), "  \(blocker.message)", "  seen:   \(blocker.evidence)", "  remedy: \(blocker.remedy)",
            ]
        }
        return lines.map { $0 + "\n" }.joined() + "\n"
    }

    /// What is written to empty an attribute would break the table.
    private static func shown(_ value: String) -> String { value == "\n" ? "(empty)" : value }
}
