import MarkdownTables

/// Two sizes of host beside each other, and the larger by the smaller.
enum SizeTable {
    static func text(_ sizes: [SizeMeasurement]) -> String {
        guard let small = sizes.first, let large = sizes.last else { return "" }
        func row(_ name: String, _ value: (SizeMeasurement) -> Double, _ unit: String) -> [String] {
            let ratio = value(small) > 0 ? decimal(value(large) / value(small)) : "-"
            return [name, decimal(value(small)) + unit, decimal(value(large)) + unit, ratio]
        }
        let rows = [
            ["inventory", "\(small.functions) functions", "\(large.functions) functions", "ratio"],
            row("opens, first inventory, a function", { Double($0.firstOpens) / Double($0.functions) }, ""),
            row("opens, a function that comes", { Double($0.eventOpens) }, ""),
            row("opens, List", { Double($0.listOpens) }, ""),
            row("first inventory", { Double($0.first) / 1e6 }, " ms"),
            row("first inventory, a function", { Double($0.first) / 1e3 / Double($0.functions) }, " us"),
            row("a function that came is known", { Double($0.event) / 1e3 }, " us"),
            row("List", { Double($0.list) / 1e3 }, " us"),
            row("List, a function", { Double($0.list) / Double($0.functions) }, " ns"),
            row("resident memory", { Double($0.resident) / 1024 }, " KiB"),
        ]
        return MarkdownTable(rows).text
    }

    /// With one digit behind the point where there are few before it.
    private static func decimal(_ value: Double) -> String {
        let tenths = Int((value * 10).rounded())
        return value >= 100 || tenths.isMultiple(of: 10) ? "\(Int(value.rounded()))" : "\(tenths / 10).\(tenths % 10)"
    }
}
