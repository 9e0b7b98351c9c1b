import LinuxSystem
import SelfTestProtocol

@testable import Passthrough

/// A guest in a process of its own that takes a line, and can be killed.
final class ConsumerProcess: Sendable {
    private let guest: SelfTestGuestChild
    private let process: ChildProcess

    init(trigger: EventFD, resample: EventFD) throws {
        let directory = try readSymbolicLink("/proc/self/exe").split(separator: "/").dropLast()
        let executable = "/" + directory.joined(separator: "/") + "/vfiod-selftest-guest"
        let counters = try GuestCounters(slots: 1)
        let pair = try UnixSocket.pair(.packets)
        process = try ChildProcess(executable: executable, arguments: [], descriptors: [pair.second.rawValue])
        guest = SelfTestGuestChild(
            process, GuestConnection(UnixSocket(adopting: try pair.first.duplicate())), counters)
        try guest.setUp(.level, fault: nil)
        try guest.connectLevel(trigger: trigger, resample: resample)
    }

    var count: UInt32 { guest.count(0) }
    var completed: UInt32 { guest.completed() }

    func acknowledge(_ count: UInt32) { guest.acknowledge(count) }

    /// Kills it, and waits until it has gone.
    func kill() throws {
        process.kill()
        _ = try process.wait()
    }
}
