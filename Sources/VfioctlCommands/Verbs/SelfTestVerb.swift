internal import ArgumentParser
internal import VfiodAPI

struct SelfTestVerb: ParsableCommand {
    /// An interrupt type, or all.
    enum Selection: String, ExpressibleByArgument, CaseIterable {
        case intx
        case msi
        case msix
        case all
    }

    static let configuration = CommandConfiguration(
        commandName: "selftest", abstract: "Prove that every interrupt of a bound device reaches a guest.",
        discussion: """
            Each vector is raised into a small guest, one raise after the other, and has to arrive exactly once and on \
            its own vector. Exit status 2 says that one was lost or one too many.

              vfioctl selftest 00:12.0 --type msix --count 100
            """)

    @OptionGroup var common: CommonOptions
    @Argument(help: DeviceArgument.help) var device: DeviceArgument
    @Option(help: "The interrupt type: intx, msi, msix or all.")
    var type = Selection.all
    @Option(help: ArgumentHelp("How many vectors of each type, from vector 0; all if not given.", valueName: "n"))
    var vectors: Int?
    @Option(help: ArgumentHelp("How often each vector is raised, 1 to 1000000.", valueName: "n"))
    var count = 10
    @Option(
        help: ArgumentHelp(
            "Break the relay on purpose: swap-routes, drop-irqfd, share-vector or stop-vcpu.", valueName: "name"))
    var fault: String?

    func run() throws {
        let parameters = SelfTest.Parameters(
            device: device.text, type: type.rawValue, vectors: vectors, count: count, fault: fault)
        let reply = try common.call(SelfTest.self, parameters, progress: \.progress)
        try common.show(reply) { SelfTestVerb.text(reply) }
        if reply.passed != true { throw ExitStatus.selfTestFailed }
    }

    static func text(_ reply: SelfTest.Reply) -> String {
        let reports = reply.reports ?? []
        var table = Table(
            [
                "TYPE", "RAISED BY", "VECTORS", "TESTED", "FIRED", "DELIVERED", "LOST", "SPURIOUS", "P50", "P99",
                "MAX",
            ], rightAligned: Set(2...10))
        var remarks: [String] = []
        for report in reports {
            let latencies = [report.latencyP50, report.latencyP99, report.latencyMax]
            let figures = [
                report.vectors, report.tested, report.fired, report.delivered, report.lost, report.spurious,
            ]
            table.add(
                [report.type, report.raisedBy] + figures.map(String.init)
                    + latencies.map { report.delivered > 0 ? latency($0) : "-" })
            let name = "\(report.type) by \(report.raisedBy)"
            if report.lost > 0 { remarks.append("\(name): lost on vectors \(ranges(report.lostVectors))") }
            if report.spurious > 0 { remarks.append("\(name): spurious on vectors \(ranges(report.spuriousVectors))") }
            remarks += report.notes.map { "\(name): \($0)" }
        }
        let verdict = reply.passed == true ? "PASSED" : "FAILED"
        return table.text + (remarks + [verdict]).map { $0 + "\n" }.joined()
    }
}
