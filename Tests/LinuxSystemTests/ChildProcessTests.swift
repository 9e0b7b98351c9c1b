import LinuxSystem
import SystemPackage
import TestSupport
import Testing

@Suite("Child process") struct ChildProcessTests {
    private func shell(_ script: String, environment: [String] = [], descriptors: [CInt] = []) throws -> ChildProcess {
        try ChildProcess(
            executable: "/bin/sh", arguments: ["-c", script], environment: environment, descriptors: descriptors)
    }

    @Test("A child's exit status and its signal are told apart, and told again") func exits() throws {
        let ended = try shell("exit 42")
        #expect(try ended.wait() == .status(42))
        #expect(try ended.wait() == .status(42))
        ended.kill()
        #expect(try shell("kill -9 $$").wait() == .signal(9))
    }

    @Test("A child that runs on is not waited for longer than asked") func deadline() throws {
        let child = try shell("exec sleep 1000")
        #expect(try child.wait(milliseconds: 0) == nil)
        #expect(try child.wait(milliseconds: 1) == nil)
        child.kill()
        #expect(try child.wait() == .signal(9))
    }

    @Test("A child that nobody waits for is ended, and leaves no zombie", arguments: ["exec sleep 1000", "exit 0"])
    func dropped(script: String) throws {
        let number = try shell(script).processID
        #expect(eventually { (try? listDirectory("/proc/\(number)")) == nil })
    }

    @Test("A program that is not there is an error with its errno") func absent() {
        #expect(throws: KernelError("posix_spawn", on: "/nonexistent/program", .noSuchFileOrDirectory)) {
            try ChildProcess(executable: "/nonexistent/program", arguments: [])
        }
    }

    @Test("A child gets the chosen descriptors from 3 on, in order, and no other") func descriptors() throws {
        let directory = try TemporaryDirectory()
        let first = try openFile(directory.file("first"), [.writeOnly, .create])
        let second = try openFile(directory.file("second"), [.writeOnly, .create])
        let leaked = try openFile(directory.file("leaked"), [.writeOnly, .create])
        try leaked.setCloseOnExec(false)
        // The numbers of both cross what they become.
        let child = try shell(
            "echo one >&3; echo two >&4; for n in 5 6 7 8 9; do test -e /proc/$$/fd/$n && exit 1; done; exit 0",
            descriptors: [second.rawValue, first.rawValue])
        #expect(try child.wait() == .status(0))
        #expect(try readText(directory.file("second")) == "one")
        #expect(try readText(directory.file("first")) == "two")
        #expect(try readText(directory.file("leaked")).isEmpty)
    }

    @Test("A child has the given environment and nothing of ours") func environment() throws {
        #expect(
            try shell("test \"$GIVEN\" = yes && test -z \"$HOME\"", environment: ["GIVEN=yes"]).wait() == .status(0))
    }

    @Test("The loopback interface has its address") func loopback() throws {
        #expect(try InterfaceAddress.all().contains(InterfaceAddress(interface: "lo", address: "127.0.0.1")))
    }
}
