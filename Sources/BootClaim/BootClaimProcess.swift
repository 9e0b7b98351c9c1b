internal import LinuxSystem
internal import PCI

/// The process that udev runs for each PCI function that the kernel tells of, while its rules are read and so before any
/// module is loaded for that function. `vfiod-claim 0000:00:11.0`.
public enum BootClaimProcess {
    /// On the kernel's command line: nothing is claimed in this boot.
    public static let off = "vfiod.claims=off"

    /// Claims, and writes to the kernel's log what came of it. Returns the exit status, 0 whatever that was: a host boots
    /// without its claims.
    public static func main(
        _ arguments: [String], claims path: String = BootClaims.path, claimer: BootClaimer = BootClaimer(),
        commandLine: String = "/proc/cmdline", log: String = "/dev/kmsg"
    ) -> Int32 {
        guard let text = try? readText(path, limit: BootClaims.maximumLength), !text.isEmpty else { return 0 }
        let words = (try? readText(commandLine))?.split { $0.isWhitespace } ?? []
        guard !words.contains(Substring(off)) else { return 0 }
        let lines =
            BootClaims(text).map { claimer.claim($0, event: arguments.first.flatMap { PCIAddress($0) }) }
            ?? ["\(path) cannot be read; nothing is claimed"]
        for line in lines {
            // Priority 5 of the kernel's log is a notice. A log that cannot be written is no reason to stop a boot.
            try? writeOnce(Array("<5>vfiod-claim: \(line)\n".utf8), to: openFile(log, .writeOnly), path: log)
        }
        return 0
    }
}
