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
                self.path = path
                return
            }
            throw ConfigurationError(path: path, line: nil, reason: "\(error)")
        }
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw ConfigurationError(path: path, line: nil, reason: "it is not UTF-8")
        }
        try self.init(text: text, path: path)
        self.path = path
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
            if ConfigurationNames.tables.contains(tableName) { continue }
            guard tables.contains(tableName) else {
                let hint = suggestion(for: tableName, among: tables.sorted() + ConfigurationNames.tables)
                throw ConfigurationError(
                    path: path,
                    line: lines.line(of: nil, in: tableName) ?? lines.line(of: nil, in: tableName, number: 1)
                        ?? lines.line(of: tableName, in: ""),
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
        names = try ConfigurationNames(root, lines, path: path).names
    }
}
