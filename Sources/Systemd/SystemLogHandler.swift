public import LinuxSystem
public import Logging
internal import SystemPackage

/// Where log lines go.
public enum LogDestination: Sendable {
    /// The journal's socket: metadata become fields that `journalctl` can match.
    case journal(UnixDatagram)
    /// Standard error, with the priority in front as systemd reads it (sd-daemon(3)), and metadata behind.
    case standardError(@Sendable (String) -> Void)

    /// The journal if standard error is connected to it, which `$JOURNAL_STREAM` then says; else standard error.
    public static func detect(
        journalStream: String?, standardError: FileIdentity?, journalPath: String = "/run/systemd/journal/socket"
    ) -> LogDestination {
        if let journalStream, let standardError, let stream = identity(journalStream), stream == standardError,
            let socket = try? UnixDatagram(connectingTo: journalPath)
        {
            return .journal(socket)
        }
        return .standardError(writeToStandardError)
    }

    private static func identity(_ stream: String) -> FileIdentity? {
        let parts = stream.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 2, let device = UInt64(parts[0]), let inode = UInt64(parts[1]) else { return nil }
        return FileIdentity(device: device, inode: inode)
    }
}

/// Sends log lines to a ``LogDestination``.
public struct SystemLogHandler: LogHandler {
    /// Lines below it are left out.
    public var logLevel: Logger.Level
    /// What goes with every line.
    public var metadata: Logger.Metadata = [:]
    /// What goes with every line of the current task.
    public var metadataProvider: Logger.MetadataProvider?

    private let destination: LogDestination
    private let identifier: String
    private let lost = LostLines()

    /// How many lines the journal did not take, for all copies of a handler.
    private final class LostLines: Sendable {
        private let count = Lock(0)

        func add(_ number: Int) { count.withLock { $0 += number } }

        func take() -> Int {
            count.withLock { count in
                defer { count = 0 }
                return count
            }
        }
    }

    /// Creates a handler. `identifier` is the journal's SYSLOG_IDENTIFIER and, in upper case, the prefix of its fields.
    public init(_ destination: LogDestination, identifier: String, level: Logger.Level) {
        self.destination = destination
        self.identifier = identifier
        logLevel = level
    }

    /// One value of ``metadata``.
    public subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    /// Sends one line.
    public func log(event: LogEvent) {
        var all = metadata
        if let provided = metadataProvider?.get() { all.merge(provided) { _, new in new } }
        if let own = event.metadata { all.merge(own) { _, new in new } }
        let sorted = all.sorted { $0.key < $1.key }
        switch destination {
        case .journal(let socket):
            var entry = JournalEntry(message: "\(event.message)", level: event.level)
            entry.append("SYSLOG_IDENTIFIER", identifier)
            entry.append("CODE_FILE", event.file)
            entry.append("CODE_LINE", String(event.line))
            for (key, value) in sorted { entry.append("\(identifier)_\(key)", "\(value)") }
            do throws(KernelError) {
                try tellLost(to: socket)
                try socket.send(entry.bytes)
            } catch {
                // A journal that is behind would hold us up on standard error as well, which leads to it too.
                if error.errno == .resourceTemporarilyUnavailable { return lost.add(1) }
                SystemLogHandler.write(event, sorted, to: writeToStandardError)
            }
        case .standardError(let write): SystemLogHandler.write(event, sorted, to: write)
        }
    }

    private func tellLost(to socket: UnixDatagram) throws(KernelError) {
        let count = lost.take()
        guard count > 0 else { return }
        var entry = JournalEntry(message: "\(count) log lines were lost: the journal was behind", level: .warning)
        entry.append("SYSLOG_IDENTIFIER", identifier)
        do throws(KernelError) {
            try socket.send(entry.bytes)
        } catch {
            lost.add(count)
            throw error
        }
    }

    private static func write(
        _ event: LogEvent, _ metadata: [(key: String, value: Logger.MetadataValue)], to write: (String) -> Void
    ) {
        let fields = metadata.map { " \($0.key)=\($0.value)" }.joined()
        // A line break would start a line of its own in the journal, with a forged priority in the worst case.
        let line = "\(event.message)\(fields)".map { $0.isNewline ? " " : String($0) }.joined()
        write("<\(event.level.priority)>\(line)\n")
    }
}
