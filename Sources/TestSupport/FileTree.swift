internal import Glibc
internal import LinuxSystem
internal import SystemPackage

/// Makes and copies small trees of files, directories and links, below one root.
struct FileTree: Sendable {
    let root: String

    func path(_ name: String) -> String { root + name }

    /// Writes a file; its directories are made.
    func write(_ content: String, to name: String) {
        write(Array(content.utf8), to: name)
    }

    func write(_ content: [UInt8], to name: String) {
        orStop("write \(name)") { () throws(KernelError) in
            let file = try open(name)
            if !content.isEmpty { try writeOnce(content, to: file, path: name) }
        }
    }

    private func open(_ name: String) throws(KernelError) -> OwnedDescriptor {
        let mode: OpenMode = [.writeOnly, .create, .truncate]
        do throws(KernelError) {
            return try openFile(path(name), mode, permissions: 0o644)
        } catch {
            guard error.errno == .noSuchFileOrDirectory else { throw error }
            makeDirectories(FileTree.parent(of: name))
            return try openFile(path(name), mode, permissions: 0o644)
        }
    }

    /// Makes a symbolic link, in place of an older one.
    func link(_ name: String, to target: String) {
        if !pathExists(path(FileTree.parent(of: name))) { makeDirectories(FileTree.parent(of: name)) }
        remove(name)
        // SAFETY: both are NUL-terminated copies, alive for the call.
        guard unsafe symlink(target, path(name)) == 0 else { fatalError("cannot link \(name)") }
    }

    /// Removes a file, a link or an empty directory, or nothing.
    func remove(_ name: String) {
        // SAFETY: the path is a NUL-terminated copy, alive for the call.
        _ = unsafe Glibc.remove(path(name))
    }

    /// Removes a directory with all that is in it. Links are removed, not followed.
    func removeAll(_ name: String) {
        if (try? readSymbolicLink(path(name))) == nil {
            for entry in (try? listDirectory(path(name))) ?? [] { removeAll("\(name)/\(entry)") }
        }
        remove(name)
    }

    func makeDirectories(_ name: String) {
        var made = root
        for part in name.split(separator: "/") {
            made += "/\(part)"
            orStop("make \(made)") { () throws(KernelError) in try makeDirectory(made) }
        }
    }

    /// Copies everything to below `other`.
    func copy(to other: FileTree) {
        copy("", to: other)
    }

    private func copy(_ directory: String, to other: FileTree) {
        other.makeDirectories(directory)
        for entry in (try? listDirectory(path(directory))) ?? [] {
            let name = "\(directory)/\(entry)"
            if let target = try? readSymbolicLink(path(name)) {
                other.link(name, to: target)
            } else if (try? listDirectory(path(name))) != nil {
                copy(name, to: other)
            } else if let content = try? readFile(path(name)) {
                other.write(content, to: name)
            }
        }
    }

    private func orStop(_ what: String, _ body: () throws(KernelError) -> Void) {
        do throws(KernelError) { try body() } catch { fatalError("\(what): \(error)") }
    }

    private static func parent(of name: String) -> String {
        name.utf8.lastIndex(of: UInt8(ascii: "/")).map { String(name[..<$0]) } ?? ""
    }
}
