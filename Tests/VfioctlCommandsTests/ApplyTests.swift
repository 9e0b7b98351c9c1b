import ArgumentParser
import LinuxSystem
import TestSupport
import Testing
import VfiodAPI

@testable import VfioctlCommands

@Suite("vfioctl apply") struct ApplyTests {
    let directory: TemporaryDirectory
    private let claims = "# c\nuplink address=0000:00:11.0\n"

    init() throws { directory = try TemporaryDirectory() }

    private func file(_ tool: String) -> BootClaimsFile { BootClaimsFile(path: directory.file("claims"), tool: tool) }
    private var content: String? { text("claims") }

    private func text(_ name: String) -> String? {
        (try? readFile(directory.file(name))).map { String(decoding: $0, as: UTF8.self) }
    }

    @Test("claims are written when they change, and the initial RAM disk made anew then only")
    func written() throws {
        let tool = directory.file("tool")
        try replaceFile(
            tool, with: Array("#!/bin/sh\necho \"$@\" >> \(directory.file("calls"))\n".utf8), permissions: 0o755)
        try file(tool).bring(to: claims, dryRun: true)
        #expect(content == nil)
        try file(tool).bring(to: claims, dryRun: false)
        try file(tool).bring(to: claims, dryRun: false)
        #expect(content == claims && text("calls") == "-u\n")
        try file(tool).bring(to: "", dryRun: false)
        #expect(content == "" && text("calls") == "-u\n-u\n")
        try file(directory.file("none")).bring(to: claims, dryRun: false)
        #expect(content == claims)
    }

    @Test("where the initial RAM disk cannot be made, the claims are as before, so that the next apply tries again")
    func failed() throws {
        #expect(throws: ExitStatus.failed) { try file("/bin/false").bring(to: claims, dryRun: false) }
        #expect(content == "")
        let nowhere = BootClaimsFile(path: directory.file("no/claims"), tool: "/bin/true")
        #expect(throws: ExitStatus.failed) { try nowhere.bring(to: claims, dryRun: false) }
    }

    @Test("each thing that is asked has a line, with what refuses it below")
    func lines() {
        #expect(appliedText([]).hasPrefix("The configuration asks for nothing"))
        let blocker = Wire.Blocker(
            code: "network-address", message: "eth0 has an address.", evidence: "eth0: 10.0.0.2", remedy: "Remove it.",
            consent: true, consentAs: "network-address")
        let text = appliedText(
            [
                Wire.AppliedProvision(name: "a", device: "0000:00:11.0", action: "bind", outcome: "unchanged"),
                Wire.AppliedProvision(
                    name: "b", device: nil, action: "bind", outcome: "failed", error: "io.vfiod.Refused",
                    failure: "refused: network-address", blockers: [blocker]),
            ])
        let lines = text.split(separator: "\n")
        #expect(lines[0] == "a (0000:00:11.0): bind: unchanged")
        #expect(lines[1] == "b: bind: refused: network-address [io.vfiod.Refused]")
        #expect(text.contains("  ") && text.contains("eth0 has an address.") && text.contains("10.0.0.2"))
    }
}
