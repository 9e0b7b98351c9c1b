internal import InterruptSources
import MarkdownTables

/// Measurements as text, in columns.
enum Report {
    private static let heads = [
        "operation", "vectors", "foreign routes", "floor", "vfiod", "ratio", "middle half", "requests: floor", "vfiod",
    ]

    /// One line for each measurement, under a heading for each source.
    static func table(_ measurements: [Measurement]) -> String {
        MarkdownTable([heads] + measurements.map(cells)).text
    }

    /// For example `MSI-X enable, 256 vectors, 0 foreign routes`.
    static func name(_ scenario: Scenario, _ operation: Operation) -> String {
        let device = scenario.device.map { " on \($0)" } ?? ""
        return "\(name(scenario.type)) \(operation.rawValue)\(device), \(scenario.vectors) vectors, "
            + "\(scenario.foreignRoutes) foreign routes"
    }

    private static func name(_ type: InterruptType) -> String {
        switch type {
        case .msix: "MSI-X"
        case .msi: "MSI"
        case .legacy: "INTx"
        }
    }

    private static func cells(_ measurement: Measurement) -> [String] {
        let scenario = measurement.scenario
        let device = scenario.device.map { ", \($0)" } ?? ""
        let spread = measurement.spread
        return [
            "\(name(scenario.type)) \(measurement.operation.rawValue)\(device)", "\(scenario.vectors)",
            "\(scenario.foreignRoutes)", duration(measurement.floorMedian), duration(measurement.ourMedian),
            decimal(measurement.ratio), "\(decimal(spread.low)) to \(decimal(spread.high))",
            "\(measurement.floorRequests)", "\(measurement.ourRequests)",
        ]
    }

    /// Three digits that count, in the unit that suits.
    private static func duration(_ nanoseconds: Double) -> String {
        switch nanoseconds {
        case ..<1000: "\(Int(nanoseconds)) ns"
        case ..<1_000_000: "\(digits(nanoseconds / 1000)) us"
        default: "\(digits(nanoseconds / 1_000_000)) ms"
        }
    }

    private static func digits(_ value: Double) -> String {
        switch value {
        case ..<10: rounded(value, 100)
        case ..<100: rounded(value, 10)
        default: "\(Int(value.rounded()))"
        }
    }

    private static func decimal(_ value: Double) -> String {
        value.isFinite && value < 1e6 ? rounded(value, 100) : "-"
    }

    private static func rounded(_ value: Double, _ scale: Int) -> String {
        let whole = Int((value * Double(scale)).rounded())
        let fraction = String(whole % scale)
        let zeros = String(repeating: "0", count: String(scale).count - 1 - fraction.count)
        return "\(whole / scale).\(zeros)\(fraction)"
    }
}
