internal import ArgumentParser
internal import LinuxSystem

/// The file that claims devices at the next boot, and the initial RAM disk that carries it. vfiod itself may write neither:
/// its unit keeps it from all but its own state.
struct BootClaimsFile {
    static let defaultPath = "/etc/vfiod/boot-claims"
    static let defaultTool = "/usr/sbin/update-initramfs"

    private static let searchPath = "PATH=/usr/sbin:/usr/bin:/sbin:/bin"

    let path: String
    /// What makes the initial RAM disk anew (initramfs-tools).
    let tool: String

    /// Writes the file if it says something else, and makes the initial RAM disk anew then. What is done is printed on
    /// standard error.
    func bring(to text: String, dryRun: Bool) throws {
        let now = (try? readFile(path)).map { String(decoding: $0, as: UTF8.self) } ?? ""
        guard now != text else { return }
        let change =
            text.isEmpty ? "no device is claimed at the next boot any more" : "devices are claimed at the next boot"
        if dryRun {
            let lines = text.split(separator: "\n").filter { !$0.hasPrefix("#") }.map { "  \($0)\n" }.joined()
            return writeToStandardError("\(path) would change, and the initial RAM disk with it: \(change)\n\(lines)")
        }
        do throws(KernelError) {
            try write(text)
            writeToStandardError("\(path): \(change)\n")
            guard pathExists(tool) else {
                return writeToStandardError(
                    "\(tool) is not there: make the initial RAM disk anew, with \(path) in it.\n")
            }
            writeToStandardError("making the initial RAM disk anew (\(tool) -u)\n")
            let made = try ChildProcess(executable: tool, arguments: ["-u"], environment: [BootClaimsFile.searchPath])
            guard try made.wait() != .status(0) else { return }
            // The next apply is to try again.
            try write(now)
            writeToStandardError("vfioctl: \(tool) -u failed; the next boot claims what it claimed before.\n")
        } catch {
            writeToStandardError("vfioctl: \(error); the next boot claims what it claimed before. Are you root?\n")
        }
        throw ExitStatus.failed
    }

    private func write(_ text: String) throws(KernelError) {
        try replaceFile(path, with: Array(text.utf8), permissions: 0o644)
    }
}
