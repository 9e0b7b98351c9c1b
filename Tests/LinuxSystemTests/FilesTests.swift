import LinuxSystem
import TestSupport
import Testing

@Suite("Files")
struct FilesTests {
    private func errno(_ body: () throws -> Void) -> String? {
        #expect(throws: KernelError.self, performing: body)?.errno.name
    }

    @Test("a file is replaced as a whole, and reads back")
    func replaceAndRead() throws {
        let directory = try TemporaryDirectory()
        let path = directory.file("record")
        try replaceFile(path, with: Array("old".utf8))
        try replaceFile(path, with: Array("new\n".utf8))
        #expect(try readFile(path) == Array("new\n".utf8))
        #expect(try readText(path) == "new")
        #expect(try listDirectory(directory.path) == ["record"])
        try replaceFile(path, with: [])
        #expect(try readFile(path).isEmpty)
    }

    @Test("a file longer than the limit is an error, not a cut", arguments: [0, 1, 4095, 4096, 4097, 10_000])
    func readLimit(size: Int) throws {
        let directory = try TemporaryDirectory()
        let path = directory.file("f")
        try replaceFile(path, with: [UInt8](repeating: 1, count: size))
        #expect(try readFile(path, limit: size).count == size)
        if size > 0 { #expect(errno { _ = try readFile(path, limit: size - 1) } == "EFBIG") }
    }

    @Test("what is not there keeps its errno and its path")
    func missing() throws {
        let directory = try TemporaryDirectory()
        let path = directory.file("none")
        let error = #expect(throws: KernelError.self) { _ = try readFile(path) }
        #expect(error?.errno.name == "ENOENT")
        #expect(error?.description == "open \(path): ENOENT (No such file or directory)")
        #expect(errno { _ = try listDirectory(path) } == "ENOENT")
        #expect(errno { _ = try readSymbolicLink(path) } == "ENOENT")
        try removeFile(path)
        #expect(!pathExists(path))
    }

    @Test("a directory may be there already, and is no file")
    func directories() throws {
        let directory = try TemporaryDirectory()
        let path = directory.file("d")
        try makeDirectory(path)
        try makeDirectory(path)
        #expect(pathExists(path))
        #expect(errno { _ = try readFile(path) } == "EISDIR")
        #expect(errno { try removeFile(path) } == "EISDIR")
        #expect(try listDirectory(path).isEmpty)
    }

    @Test("exclusive creation finds what is there")
    func exclusive() throws {
        let directory = try TemporaryDirectory()
        let path = directory.file("f")
        let file = try openFile(path, [.writeOnly, .create, .exclusive])
        try writeOnce([7], to: file, path: path)
        #expect(errno { _ = try openFile(path, [.writeOnly, .create, .exclusive]) } == "EEXIST")
        #expect(try readFile(path) == [7])
        let identity = try FileIdentity(of: file.rawValue)
        let again = SharedDescriptor(try openFile(path, .readOnly))
        #expect(try FileIdentity(of: again.rawValue) == identity)
        withExtendedLifetime(again) {}
    }
}
