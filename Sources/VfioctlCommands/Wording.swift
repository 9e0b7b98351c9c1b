internal import FoundationEssentials
internal import VfiodAPI

/// Numbers in ascending order as ranges: `0-2, 5`; `none` for none.
func ranges(_ numbers: [Int]) -> String {
    var found: [ClosedRange<Int>] = []
    for number in numbers {
        if let last = found.last, number == last.upperBound + 1 {
            found[found.count - 1] = last.lowerBound...number
        } else {
            found.append(number...number)
        }
    }
    if found.isEmpty { return "none" }
    return found.map { $0.count == 1 ? "\($0.lowerBound)" : "\($0.lowerBound)-\($0.upperBound)" }
        .joined(separator: ", ")
}

/// A time in microseconds with three digits and a unit: `12.8 us`, `1.24 ms`, `2.00 s`.
func latency(_ microseconds: Double) -> String {
    let units = [("us", 1.0), ("ms", 1000.0), ("s", 1_000_000.0)]
    let (unit, scale) = units.last { microseconds >= $0.1 } ?? ("us", 1)
    let value = microseconds / scale
    let digits = value >= 100 ? 0 : value >= 10 ? 1 : 2
    return decimal(value, digits: digits) + " " + unit
}

/// `value`, which is not negative, rounded to `digits` digits.
func decimal(_ value: Double, digits: Int) -> String {
    let factor = digits == 0 ? 1.0 : digits == 1 ? 10.0 : 100.0
    guard value.isFinite, value >= 0, value < 1e15 else { return "?" }
    let scaled = Int((value * factor).rounded())
    guard digits > 0 else { return "\(scaled)" }
    let fraction = String(scaled % Int(factor))
    return "\(scaled / Int(factor))." + String(repeating: "0", count: digits - fraction.count) + fraction
}

/// A size in bytes as people say it: `16 KiB`, `3 B`.
func size(_ bytes: Int) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"]
    var (value, unit) = (max(0, bytes), 0)
    while value >= 1024, value % 1024 == 0, unit < units.count - 1 { (value, unit) = (value / 1024, unit + 1) }
    return "\(value) \(units[unit])"
}

/// `text`, and blanks up to `width`; one at least.
func padded(_ text: String, _ width: Int) -> String {
    text + String(repeating: " ", count: max(1, width - text.count))
}

/// What to add to the command line to override a blocker.
func consentOption(_ blocker: Wire.Blocker) -> String { "--consent \(blocker.consentAs ?? blocker.code)" }

/// The steps and blockers of a plan, a line each or more.
func planText(_ plan: Wire.Plan) -> String {
    var lines: [String] = []
    for (index, step) in plan.steps.enumerated() {
        lines.append("\(index + 1). \(step.action) \(step.target)" + (step.value.map { " <- \($0)" } ?? ""))
    }
    for blocker in plan.blockers {
        lines.append("[\(blocker.code)] \(blocker.message)")
        lines.append("  seen:   \(blocker.evidence)")
        lines.append("  remedy: \(blocker.remedy)")
        if blocker.consent { lines.append("  or take it all the same: \(consentOption(blocker))") }
    }
    return lines.map { $0 + "\n" }.joined()
}
