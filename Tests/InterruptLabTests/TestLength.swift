import Glibc
import LinuxSystem

/// How long the tests go on whose worth grows with it: a little in every run, and as long as `lab soak` says there.
enum TestLength {
    /// How often a race is run: `short` times, or for as many seconds as VFIOD_RACE_SECONDS says.
    static func race(_ short: Int, _ body: (Int) throws -> Void) rethrows {
        let seconds = number("VFIOD_RACE_SECONDS") ?? 0
        let end = monotonicNanoseconds(after: .seconds(seconds))
        var round = 0
        while round < short || monotonicNanoseconds() < end {
            try body(round)
            round += 1
        }
    }

    /// How many levels one after the other: VFIOD_LEVEL_CYCLES, or `short`.
    static func levelCycles(_ short: UInt32) -> UInt32 { number("VFIOD_LEVEL_CYCLES").map(UInt32.init) ?? short }

    /// How many cycles of one vector: VFIOD_CYCLES, or `short`.
    static func cycles(_ short: Int) -> Int { number("VFIOD_CYCLES") ?? short }

    /// How many cycles of a full window: VFIOD_WINDOW_CYCLES, or `short`.
    static func windowCycles(_ short: Int) -> Int { number("VFIOD_WINDOW_CYCLES") ?? short }

    private static func number(_ name: String) -> Int? { getenv(name).flatMap { Int(String(cString: $0)) } }
}
