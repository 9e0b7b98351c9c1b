import LinuxSystem
import Logging
import Passthrough
import TestSupport
import Testing
import VfiodDaemon

@Suite("Configuration")
struct ConfigurationTests {
    private func read(_ text: String) throws(ConfigurationError) -> Configuration {
        try Configuration(text: text, path: "vfiod.toml")
    }

    @Test("every key is read")
    func everyKey() throws {
        let configuration = try read(
            """
            [socket]
            path = "/tmp/s"
            connections = 8
            connections-per-user = 4
            [state]
            directory = "/tmp/state"
            [deadlines]
            step = 1
            stop = 600
            [log]
            level = "debug"
            [self-test]
            guest = "/tmp/guest"
            window = 2048
            delivery = 1
            [leases]
            directory = "/tmp/leases"
            mappings = 65535
            memory = 1
            step = 1
            reset = 600
            """)
        #expect(configuration.socketPath == "/tmp/s")
        #expect(configuration.connections == 8)
        #expect(configuration.connectionsPerUser == 4)
        #expect(configuration.stateDirectory == "/tmp/state")
        #expect(configuration.stepDeadline == .seconds(1))
        #expect(configuration.stopDeadline == .seconds(600))
        #expect(configuration.logLevel == .debug)
        #expect(configuration.selfTestGuest == "/tmp/guest")
        #expect(configuration.selfTestLimits.window == 2048)
        #expect(configuration.selfTestLimits.deliveryMilliseconds == 1)
        #expect(configuration.leaseDirectory == "/tmp/leases")
        #expect(configuration.leaseLimits.mappings == 65535 && configuration.leaseLimits.mebibytes == 1)
        #expect(configuration.sessionDeadlines.step == .seconds(1))
        #expect(configuration.sessionDeadlines.reset == .seconds(600))
    }

    @Test(
        "what is wrong is said with its line",
        arguments: [
            ("[deadlines]\nstep = 0", 2, "deadlines.step must be whole seconds from 1 to 600"),
            ("[deadlines]\n\nstep = 601", 3, "from 1 to 600"),
            ("[deadlines]\nstep = 1.5", 2, "deadlines.step must be whole seconds"),
            ("[deadlines]\nstop = 99999999999999999999", 2, ""),
            ("[socket]\npath = 7", 2, "socket.path must be an absolute path in quotes"),
            ("[socket]\npath = \"relative\"", 2, "absolute"), ("[socket]\nconnections = 0", 2, "from 1 to 4096"),
            ("[self-test]\nwindow = 2049", 2, "self-test.window must be a whole number from 1 to 2048"),
            ("[log]\nlevel = \"loud\"", 2, "must be one of trace, debug"),
            ("[deadlines]\nstpe = 1", 2, "no key deadlines.stpe; did you mean step?"),
            ("[socket]\nconnection = 1", 2, "did you mean connections?"),
            ("[deadlines]\nwhatever-else = 1", 2, "no key deadlines.whatever-else"),
            ("# comment\n[soket]\n", 2, "no table [soket]; did you mean socket?"), ("level = 1", 1, "no table [level]"),
            ("socket = 1", 1, "socket must be a table"), ("[socket]\npath = \"/a\"\npath = \"/b\"", 3, ""),
            ("[socket", 1, ""), ("a = ", 1, ""),
        ])
    func wrong(text: String, line: Int, reason: String) {
        let error = #expect(throws: ConfigurationError.self) { _ = try read(text) }
        #expect(error?.line == line)
        #expect(error?.description.hasPrefix("vfiod.toml:\(line): ") == true)
        if !reason.isEmpty { #expect(error?.reason.contains(reason) == true) }
    }

    @Test("a file that is missing means the defaults, unless it was named")
    func missingFile() throws {
        let directory = try TemporaryDirectory()
        let path = directory.file("none.toml")
        var defaults = Configuration()
        defaults.path = path
        #expect(try Configuration(file: path, required: false) == defaults)
        let error = #expect(throws: ConfigurationError.self) { _ = try Configuration(file: path, required: true) }
        #expect(error?.reason.contains("ENOENT") == true)
    }

    @Test("a file that is no text, or far too long, is refused")
    func strangeFiles() throws {
        let directory = try TemporaryDirectory()
        try replaceFile(directory.file("binary"), with: [0xff, 0xfe, 0x00])
        try replaceFile(directory.file("long"), with: [UInt8](repeating: UInt8(ascii: "#"), count: 1 << 17))
        for name in ["binary", "long"] {
            #expect(throws: ConfigurationError.self) {
                _ = try Configuration(file: directory.file(name), required: true)
            }
        }
    }

    @Test("the installed file says every key's default")
    func installedFile() throws {
        let source = #filePath.split(separator: "/").dropLast(3).map { "/\($0)" }.joined()
        let text = try readText("\(source)/configs/vfiod.toml")
        #expect(try read(text) == Configuration())
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        let uncommented = lines.map { line in
            guard line.hasPrefix("#"), let second = line.dropFirst().first else { return line }
            return second.isLetter || second == "[" ? line.dropFirst() : line
        }
        #expect(uncommented.count { $0.contains(" = ") && !$0.hasPrefix("#") } == 32)
        var all = try read(uncommented.joined(separator: "\n"))
        #expect(all.names.devices.map(\.name) == ["uplink", "ports", "port0"])
        #expect(all.names.devices.map(\.provision.isBound) == [true, false, true])
        #expect(all.names.device("uplink")?.provision.isClaimedAtBoot == true)
        #expect(all.names.device("ports")?.provision.virtualFunctions == 4)
        #expect(all.names.devices.map(\.provision.mapsBARs) == [false, nil, nil])
        #expect(all.names.pools.map(\.name) == ["nics"])
        all.names = NamedDevices()
        #expect(all == Configuration())
    }
}
