import LinuxSystem
import PCI
import SystemPackage
import TestSupport
import Testing

@testable import Passthrough

/// A session whose end did not reset its device.
@Suite("Quarantine after a session", .serialized) struct SessionQuarantineTests {
    /// The session's user, on this host.
    private func endBadly(_ host: LeaseFixture) async throws {
        try await host.attach()
        _ = try await host.begin()
        host.kernel.refuse("VFIO_DEVICE_RESET", with: .ioError)
        await host.host.endSession(host.nic, .processEnded)
    }

    private func isRefused(_ host: LeaseFixture) async -> Bool {
        let error = await sessionFailure { try await host.begin() }
        guard case .notReady(host.nic, "quarantined", let message) = error else { return false }
        return message.contains("reset") && message.contains("EIO")
    }

    @Test("It is on disk, and outlives vfiod with the lease and without; a release by hand ends it")
    func outlives() async throws {
        let first = try await LeaseFixture()
        defer { first.stop() }
        try await endBadly(first)
        #expect(await isRefused(first))
        #expect(first.fake.content("/var/lib/vfiod/\(first.nic).json")?.contains("\"quarantine\"") == true)
        #expect(try await first.host.describe(first.nic).quarantine?.contains("EIO") == true)
        #expect(try await first.host.list().first { $0.address == first.nic }?.state == .quarantined)
        #expect(first.log.all.contains { $0.contains("event=device-quarantined") })
        // Another device of the lease is none the worse.
        try await first.attach(first.other)
        _ = try await first.begin(first.other)

        let second = try await LeaseFixture(try FakeHost(copying: first.fake))
        defer { second.stop() }
        #expect(second.log.all.contains { $0.contains("\(second.nic) is quarantined: The session of user 1000") })
        #expect(await second.state()?.state == .quarantined)
        #expect(await isRefused(second))
        try await second.detach()
        let refusal = await failure { try await second.attach(to: LeaseFixture.stranger) }
        #expect(second.codes(refusal).contains(.quarantined))

        let third = try await LeaseFixture(try FakeHost(copying: second.fake))
        defer { third.stop() }
        let everything = Set(BlockerCode.allCases.map { Consent($0) })
        #expect(third.codes(await failure { try await third.attach(consent: everything) }).contains(.quarantined))
        // The other device of its IOMMU group is still given to somebody.
        try await third.detach(third.other)
        _ = try await third.host.reset(third.nic, method: nil, consent: [], dryRun: false) { _ in }
        #expect(third.codes(await failure { try await third.attach(consent: everything) }) == [.quarantined])
        try await third.host.release(third.nic)
        try await third.attach(to: LeaseFixture.stranger)
        _ = try await third.begin()
    }

    @Test("A release while it is leased lets its owner begin sessions again")
    func released() async throws {
        let host = try await LeaseFixture()
        defer { host.stop() }
        try await endBadly(host)
        try await host.host.release(host.nic)
        #expect(await host.state()?.state == .idle)
        _ = try await host.begin()
        await host.host.endSession(host.nic, .processEnded)
        #expect(await host.state()?.state == .idle)
    }

    @Test("One that cannot be recorded counts all the same, and is recorded with what is recorded next")
    func unrecorded() async throws {
        let host = try await LeaseFixture()
        defer { host.stop() }
        try await host.attach()
        _ = try await host.begin()
        let directory = host.fake.stateDirectory
        try renameFile(directory, to: directory + ".away")
        host.fake.set("/var/lib/vfiod", "")
        host.kernel.refuse("VFIO_DEVICE_RESET", with: .ioError)
        await host.host.endSession(host.nic, .processEnded)
        #expect(host.log.all.contains { $0.hasPrefix("error: quarantine of \(host.nic) failed") })
        #expect(await isRefused(host))
        try removeFile(directory)
        try renameFile(directory + ".away", to: directory)
        try await host.detach()
        let next = try await LeaseFixture(try FakeHost(copying: host.fake))
        defer { next.stop() }
        #expect(next.codes(await failure { try await next.attach() }) == [.quarantined])
    }

    @Test("Of a vfiod that is killed in Detach or Release: it is quarantined until it is on disk that it is not")
    func killed() async throws {
        let crashes = Lock<[(point: StopPoint, host: FakeHost)]>([])
        let source = Lock<FakeHost?>(nil)
        let first = try await LeaseFixture(stops: { point in
            guard let copy = source.withLock({ $0 }).flatMap({ try? FakeHost(copying: $0) }) else { return }
            crashes.withLock { $0.append((point, copy)) }
        })
        defer { first.stop() }
        try await endBadly(first)
        source.withLock { $0 = first.fake }
        try await first.detach()
        try await first.host.release(first.nic)
        source.withLock { $0 = nil }
        let found = crashes.withLock { $0 }
        #expect(
            found.map { "\($0.point.operation) \($0.point.step) \($0.point.moment)" } == [
                "detach lease before", "detach lease after", "release quarantine before", "release quarantine after",
            ])
        for (point, host) in found {
            let next = try await LeaseFixture(host)
            defer { next.stop() }
            let isReleased = (point.step, point.moment) == (.quarantine, .after)
            let state = try await next.host.list().first { $0.address == next.nic }?.state
            #expect(state == (isReleased ? .bound : .quarantined), "\(point)")
        }
    }
}
