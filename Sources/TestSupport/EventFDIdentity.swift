internal import LinuxSystem

/// What procfs tells of an eventfd without touching it (fs/eventfd.c, eventfd_show_fdinfo).
struct EventFDIdentity {
    /// The same for all descriptors of one eventfd, and for no other.
    let id: String
    /// Its count.
    let count: UInt64

    init?(of descriptor: CInt) {
        guard let lines = try? readText("/proc/self/fdinfo/\(descriptor)").split(separator: "\n") else { return nil }
        func value(_ field: String) -> String? {
            lines.first { $0.hasPrefix(field + ":") }?.dropFirst(field.count + 1).split(separator: " ").first
                .map(String.init)
        }
        guard let id = value("eventfd-id"), let count = value("eventfd-count").flatMap({ UInt64($0, radix: 16) }) else {
            return nil
        }
        self.id = id
        self.count = count
    }
}
