internal import LinuxSystem
internal import SystemPackage
internal import TOMLKit

/// Why a configuration file cannot be used.
public struct ConfigurationError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The file.
    public let path: String
    /// The line, from 1; nil where the file as a whole is at fault.
    public let line: Int?
    /// One sentence.
    public let reason: String

    /// For example `/etc/vfiod/vfiod.toml:3: deadlines.step must be …`.
    public var description: String {
        line.map { "\(path):\($0): \(reason)" } ?? "\(path): \(reason)"
    }
}

extension Configuration {
    /// Reads the file at `path`. A file that does not exist means the defaults, unless it is `required`.
    public init(file path: String, required: Bool) throws(ConfigurationError) {
        let bytes: [UInt8]
        do throws(KernelError) {
            bytes = try readFile(path, limit: 1 << 16)
        } catch {
            if error.errno == .noSuchFileOrDirectory && !required {
                self.init()
                return
            }
            throw ConfigurationError(path: path, line: nil, reason: "\(error)")
        }
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw ConfigurationError(path: path, line: nil, reason: "it is not UTF-8")
        }
        try self.init(text: text, path: path)
    }

    /// Reads a file's content; `path` is for errors.
    public init(text: String, path: String) throws(ConfigurationError) {
        self.init()
        let lines = ConfigurationLines(text)
        let root: TOMLTable
        do {
            root = try TOMLTable(string: text)
        } catch let error as TOMLParseError {
            throw ConfigurationError(path: path, line: error.source.begin.line, reason: error.description)
        } catch {
            throw ConfigurationError(path: path, line: nil, reason: "\(error)")
        }
        let tables = Set(ConfigurationKey.all.map(\.table))
        for tableName in root.keys.sorted() {
            guard tables.contains(tableName) else {
                let hint = suggestion(for: tableName, among: tables.sorted())
                throw ConfigurationError(
                    path: path, line: lines.line(of: nil, in: tableName) ?? lines.line(of: tableName, in: ""),
                    reason: "there is no table [\(tableName)]\(hint)")
            }
            guard let table = root[tableName]?.table else {
                throw ConfigurationError(
                    path: path, line: lines.line(of: tableName, in: ""), reason: "\(tableName) must be a table")
            }
            let keys = ConfigurationKey.all.filter { $0.table == tableName }
            for name in table.keys.sorted() {
                let line = lines.line(of: name, in: tableName)
                guard let key = keys.first(where: { $0.name == name }), let value = table[name] else {
                    let hint = suggestion(for: name, among: keys.map(\.name))
                    throw ConfigurationError(
                        path: path, line: line, reason: "there is no key \(tableName).\(name)\(hint)")
                }
                do throws(ConfigurationKey.Unfit) {
                    try key.read(value, &self)
                } catch {
                    throw ConfigurationError(path: path, line: line, reason: "\(tableName).\(name) \(error.reason)")
                }
            }
        }
    }
}

/// Finds the line of a key, which the parser does not tell. Good for files of tables with one key per line.
private struct ConfigurationLines {
    private var lines: [(table: String, key: String?, number: Int)] = []

    init(_ text: String) {
        var table = ""
        for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            let code = line.prefix { $0 != "#" }.filter { !$0.isWhitespace && $0 != "\"" }
            if code.hasPrefix("["), let end = code.firstIndex(of: "]") {
                table = String(code[code.index(after: code.startIndex)..<end])
                lines.append((table, nil, index + 1))
            } else if let equals = code.firstIndex(of: "=") {
                lines.append((table, String(code[..<equals]), index + 1))
            }
        }
    }

    func line(of key: String?, in table: String) -> Int? {
        lines.first { $0.table == table && $0.key == key }?.number
    }
}

/// `; did you mean X?` for the nearest of `names`, empty if none is near.
private func suggestion(for name: String, among names: [String]) -> String {
    let nearest = names.map { (name: $0, distance: distance(name, $0)) }.min { $0.distance < $1.distance }
    guard let nearest, nearest.distance <= max(2, name.count / 2) else { return "" }
    return "; did you mean \(nearest.name)?"
}

/// How many letters have to be changed, added or left out (Levenshtein).
private func distance(_ first: String, _ second: String) -> Int {
    let second = Array(second)
    var row = Array(0...second.count)
    for (index, letter) in first.enumerated() {
        var next = [index + 1]
        for (column, other) in second.enumerated() {
            let replaced = row[column] + (letter == other ? 0 : 1)
            next.append(min(replaced, row[column + 1] + 1, next[column] + 1))
        }
        row = next
    }
    return row[second.count]
}
