internal import Logging
internal import Passthrough
internal import TOMLKit

/// One key of the configuration file: where it stands, and what it may be.
struct ConfigurationKey: Sendable {
    /// What is wrong with a value, as the end of a sentence.
    struct Unfit: Error { let reason: String }

    let table: String
    let name: String
    /// Reads the value into the configuration.
    let read: @Sendable (any TOMLValueConvertible, inout Configuration) throws(Unfit) -> Void

    static let all: [ConfigurationKey] = [
        path("socket", "path", \.socketPath),
        number("socket", "connections", 1...4096, \.connections),
        number("socket", "connections-per-user", 1...4096, \.connectionsPerUser),
        path("state", "directory", \.stateDirectory),
        seconds("deadlines", "step", 1...600, \.stepDeadline),
        seconds("deadlines", "stop", 1...600, \.stopDeadline),
        logLevel("log", "level", \.logLevel),
        path("self-test", "guest", \.selfTestGuest),
        number("self-test", "window", 1...SelfTestLimits.maximumWindow, \.selfTestLimits.window),
        number("self-test", "delivery", 1...60_000, \.selfTestLimits.deliveryMilliseconds),
        path("leases", "directory", limit: leaseDirectoryLimit, \.leaseDirectory),
        number("leases", "mappings", 1...65_535, \.leaseLimits.mappings),
        number("leases", "memory", 1...(1 << 30), \.leaseLimits.mebibytes),
        seconds("leases", "step", 1...600, \.sessionDeadlines.step),
        flag("leases", "map-bars", \.leaseLimits.mapsBARs),
        seconds("leases", "reset", 1...600, \.sessionDeadlines.reset),
    ]

    /// A socket's path has at most 107 bytes (unix(7)), and an address with its slash up to 17.
    private static let leaseDirectoryLimit = 90

    private static func path(
        _ table: String, _ name: String, limit: Int = 4095,
        _ target: any WritableKeyPath<Configuration, String> & Sendable
    ) -> ConfigurationKey {
        ConfigurationKey(table: table, name: name) { value, configuration throws(Unfit) in
            guard let path = value.string, path.hasPrefix("/"), !path.utf8.contains(0), path.utf8.count <= limit else {
                throw Unfit(reason: "must be an absolute path in quotes, of at most \(limit) bytes")
            }
            configuration[keyPath: target] = path
        }
    }

    private static func number(
        _ table: String, _ name: String, _ range: ClosedRange<Int>,
        _ target: any WritableKeyPath<Configuration, Int> & Sendable
    ) -> ConfigurationKey {
        ConfigurationKey(table: table, name: name) { value, configuration throws(Unfit) in
            guard let number = value.int, range.contains(number) else {
                throw Unfit(reason: "must be a whole number from \(range.lowerBound) to \(range.upperBound)")
            }
            configuration[keyPath: target] = number
        }
    }

    private static func seconds(
        _ table: String, _ name: String, _ range: ClosedRange<Int>,
        _ target: any WritableKeyPath<Configuration, Duration> & Sendable
    ) -> ConfigurationKey {
        ConfigurationKey(table: table, name: name) { value, configuration throws(Unfit) in
            guard let number = value.int, range.contains(number) else {
                throw Unfit(reason: "must be whole seconds from \(range.lowerBound) to \(range.upperBound)")
            }
            configuration[keyPath: target] = .seconds(number)
        }
    }

    private static func flag(
        _ table: String, _ name: String, _ target: any WritableKeyPath<Configuration, Bool> & Sendable
    ) -> ConfigurationKey {
        ConfigurationKey(table: table, name: name) { value, configuration throws(Unfit) in
            guard let flag = value.bool else { throw Unfit(reason: "must be true or false") }
            configuration[keyPath: target] = flag
        }
    }

    private static func logLevel(
        _ table: String, _ name: String, _ target: any WritableKeyPath<Configuration, Logger.Level> & Sendable
    ) -> ConfigurationKey {
        ConfigurationKey(table: table, name: name) { value, configuration throws(Unfit) in
            guard let text = value.string, let level = Logger.Level(rawValue: text) else {
                let levels = Logger.Level.allCases.map(\.rawValue).joined(separator: ", ")
                throw Unfit(reason: "must be one of \(levels), in quotes")
            }
            configuration[keyPath: target] = level
        }
    }
}
