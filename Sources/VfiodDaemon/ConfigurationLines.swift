/// Finds the line of a key, which the parser does not tell. Good for files of tables with one key per line.
struct ConfigurationLines {
    /// `number`: of the table among those of its name, from 1; nil where there is but one.
    private var lines: [(table: String, number: Int?, key: String?, line: Int)] = []

    init(_ text: String) {
        var table = ""
        var number: Int?
        var counts: [String: Int] = [:]
        for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            let code = line.prefix { $0 != "#" }.filter { !$0.isWhitespace && $0 != "\"" }
            if code.hasPrefix("["), let name = code.split(separator: "[").first?.split(separator: "]").first {
                table = String(name)
                if code.hasPrefix("[[") { counts[table, default: 0] += 1 }
                number = code.hasPrefix("[[") ? counts[table] : nil
                lines.append((table, number, nil, index + 1))
            } else if let equals = code.firstIndex(of: "=") {
                lines.append((table, number, String(code[..<equals]), index + 1))
            }
        }
    }

    func line(of key: String?, in table: String, number: Int? = nil) -> Int? {
        lines.first { $0.table == table && $0.number == number && $0.key == key }?.line
    }
}
