internal import Glibc
public import LinuxSystem
internal import SystemPackage

/// A directory that goes with the value, for one test.
public final class TemporaryDirectory: Sendable {
    /// Its absolute path.
    public let path: String

    /// Creates it in memory, where a sync costs nothing, or else under /tmp; short enough for a socket's path.
    public init() throws(KernelError) {
        let parent = pathExists("/dev/shm") ? "/dev/shm" : "/tmp"
        var template = Array("\(parent)/vfiod-test-XXXXXX".utf8CString)
        // SAFETY: mkdtemp replaces the six characters in place, inside the NUL-terminated array.
        guard unsafe mkdtemp(&template) != nil else { throw KernelError("mkdtemp", on: parent, .ioError) }
        path = String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
    }

    deinit {
        TemporaryDirectory.remove(path)
    }

    /// The path of `name` in it.
    public func file(_ name: String) -> String { "\(path)/\(name)" }

    private static func remove(_ path: String) {
        // A link is removed, never followed: it may lead out of the directory.
        // SAFETY: the path is a NUL-terminated copy, alive for the calls.
        if unsafe Glibc.remove(path) == 0 { return }
        for name in (try? listDirectory(path)) ?? [] { remove("\(path)/\(name)") }
        _ = unsafe Glibc.remove(path)
    }
}
