/// Rows of text in columns as wide as their widest cell.
struct Table {
    private var rows: [[String]]
    private let rightAligned: Set<Int>

    /// Creates a table; the columns of numbers are named in `rightAligned`.
    init(_ heading: [String], rightAligned: Set<Int> = []) {
        rows = [heading]
        self.rightAligned = rightAligned
    }

    mutating func add(_ row: [String]) {
        rows.append(row)
    }

    /// All rows, each ended by a newline, without blanks at line ends.
    var text: String { text(width: nil) }

    /// All rows, of which a terminal of `width` columns takes each in one line: the end of longer ones is left out.
    func text(width: Int?) -> String {
        var widths: [Int] = []
        for row in rows {
            for (column, cell) in row.enumerated() {
                if column < widths.count {
                    widths[column] = max(widths[column], cell.count)
                } else {
                    widths.append(cell.count)
                }
            }
        }
        return rows.map { cut(line($0, widths), to: width) + "\n" }.joined()
    }

    private func line(_ row: [String], _ widths: [Int]) -> String {
        let cells = row.enumerated().map { column, cell in
            let padding = String(repeating: " ", count: widths[column] - cell.count)
            return rightAligned.contains(column) ? padding + cell : cell + padding
        }
        var line = cells.joined(separator: "  ")
        while line.last == " " { line.removeLast() }
        return line
    }

    private func cut(_ line: String, to width: Int?) -> String {
        guard let width, width > 0, line.count > width else { return line }
        return line.prefix(width - 1) + "…"
    }
}
