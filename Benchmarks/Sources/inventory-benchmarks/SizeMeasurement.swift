import LinuxSystem
import Passthrough
import TestSupport

/// What the inventory of a host of one size costs.
struct SizeMeasurement {
    let functions: Int
    /// How often sysfs was asked: for the first inventory, when one function came, and for List.
    let firstOpens: Int
    let eventOpens: Int
    let listOpens: Int
    /// Nanoseconds.
    let first: UInt64
    let event: UInt64
    let list: UInt64
    /// Bytes of resident memory that the inventory added.
    let resident: Int

    init(functions: Int, rounds: Int, on loop: EventLoop) async throws {
        self.functions = functions
        let files = FakeFiles()
        let counted = try GeneratedHost(functions: functions, files: files, on: loop)
        await counted.host.takeInventory()
        firstOpens = files.opens.count
        files.forgetOpens()
        _ = try await counted.host.list()
        listOpens = files.opens.count
        eventOpens = try await counted.opensToComeBack(files)
        let timed = try GeneratedHost(functions: functions, files: LiveFiles(), on: loop)
        let before = SizeMeasurement.residentBytes
        let start = monotonicNanoseconds()
        await timed.host.takeInventory()
        first = monotonicNanoseconds() &- start
        resident = max(0, SizeMeasurement.residentBytes - before)
        var (events, lists): ([UInt64], [UInt64]) = ([], [])
        for _ in 0..<rounds {
            events.append(try await timed.replug())
            let start = monotonicNanoseconds()
            _ = try await timed.host.list()
            lists.append(monotonicNanoseconds() &- start)
        }
        event = SizeMeasurement.median(events)
        list = SizeMeasurement.median(lists)
    }

    private static func median(_ values: [UInt64]) -> UInt64 {
        values.isEmpty ? 0 : values.sorted()[values.count / 2]
    }

    /// The second number of /proc/self/statm, in pages.
    private static var residentBytes: Int {
        let fields = (try? readText("/proc/self/statm"))?.split(separator: " ") ?? []
        return (fields.dropFirst().first.flatMap { Int($0) } ?? 0) * 4096
    }
}
