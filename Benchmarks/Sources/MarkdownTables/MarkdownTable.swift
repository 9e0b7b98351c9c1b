/// Rows of text in columns, the first of which is a heading, as Markdown has it and people can read it.
public struct MarkdownTable {
    private let rows: [[String]]

    /// Each row has as many cells as the first.
    public init(_ rows: [[String]]) { self.rows = rows }

    /// The first column is aligned to the left, the others to the right.
    public var text: String {
        guard let head = rows.first else { return "" }
        let widths = head.indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
        let lines = rows.map { row in
            let padded = zip(row, widths).enumerated().map { column, cell in
                let space = String(repeating: " ", count: cell.1 - cell.0.count)
                return column == 0 ? cell.0 + space : space + cell.0
            }
            return "| " + padded.joined(separator: " | ") + " |\n"
        }
        let rule = "|" + widths.map { String(repeating: "-", count: $0 + 2) }.joined(separator: "|") + "|\n"
        return lines[0] + rule + lines.dropFirst().joined()
    }
}
