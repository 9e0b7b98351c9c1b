import LinuxSystem
import PCI
import Passthrough
import SystemPackage
import TestSupport
import Testing
import Varlink
import VfiodAPI

@testable import VfiodDaemon

@Suite("Apply over the wire")
struct ApplyMethodTests {
    private static let text = """
        [[device]]
        name = "uplink"
        address = "00:11.0"
        bind = true
        claim-at-boot = true
        [[device]]
        name = "other"
        address = "00:10.0"
        bind = true
        """

    private func write(_ text: String, _ daemon: RunningDaemon) throws {
        try replaceFile(daemon.configurationPath, with: Array(text.utf8))
    }

    @Test("the file is read anew, each result is told, and what is sound is claimed at the next boot")
    func applied() async throws {
        try await RunningDaemon.with { daemon in
            #expect(try await daemon.call(Apply.self, Apply.Parameters(dryRun: nil)).results == [])
            try write(Self.text, daemon)
            let planned = try await daemon.call(Apply.self, Apply.Parameters(dryRun: true))
            #expect(planned.results?.map(\.outcome) == ["planned", "planned"])
            #expect(planned.results?.first?.plan?.steps.map(\.value) == ["vfio-pci"])
            let done = try await daemon.call(Apply.self, Apply.Parameters(dryRun: nil))
            #expect(
                done.results?.map { "\($0.name) \($0.device ?? "") \($0.action) \($0.outcome)" }
                    == ["uplink 0000:00:11.0 bind done", "other 0000:00:10.0 bind done"])
            let claims = "uplink address=0000:00:11.0\n"
            #expect(done.bootClaims?.hasSuffix(claims) == true && planned.bootClaims == done.bootClaims)
            #expect(await daemon.devices.applied.map(\.devices.count) == [0, 2, 2])
            let audit = daemon.log.all.filter { $0.contains("apply of the configuration, asked for by user") }
            #expect(audit.count == 2 && audit.allSatisfy { $0.contains("done") })
        }
    }

    @Test("what failed is told with the error's name, the reason and the hint, and is not claimed")
    func failed() async throws {
        try await RunningDaemon.with { daemon in
            try write(Self.text, daemon)
            let address = try #require(PCIAddress("0000:00:11.0"))
            await daemon.devices.fail(
                .kernel(
                    address, step: "probe", KernelError("write", on: "drivers_probe", .operationNotSupportedByDevice),
                    hint: "Look there."))
            let reply = try await daemon.call(Apply.self, Apply.Parameters(dryRun: nil))
            let result = try #require(reply.results?.first)
            #expect(result.outcome == "failed" && result.error == "io.vfiod.KernelRefused" && result.blockers.isEmpty)
            #expect(result.failure?.contains("ENODEV") == true && result.failure?.hasSuffix("Look there.") == true)
            #expect(reply.bootClaims == "")
            #expect(daemon.log.all.contains { $0.contains("2 of 2 failed") })
            await daemon.devices.fail(.refused(address, operation: "bind", [InMemoryDevices.blocker]))
            let refused = try await daemon.call(Apply.self, Apply.Parameters(dryRun: true)).results?.first
            #expect(refused?.error == "io.vfiod.Refused" && refused?.blockers.map(\.code) == ["network-address"])
        }
    }

    @Test("a file that cannot be used is refused with its line, and nothing is changed")
    func unusable() async throws {
        try await RunningDaemon.with { daemon in
            try write("[[device]]\nname = \"a\"\nslot = \"1\"\nbnid = true\n", daemon)
            let error = try await daemon.refusal(of: Apply.self, Apply.Parameters(dryRun: nil))
            let refusal = try #require(error.flatMap(Wire.ConfigurationUnusable.init))
            #expect(refusal.path == daemon.configurationPath && refusal.line == 4)
            #expect(refusal.reason.contains("bnid") && refusal.reason.contains("did you mean bind?"))
            #expect(await daemon.devices.applied.isEmpty)
        }
    }
}
