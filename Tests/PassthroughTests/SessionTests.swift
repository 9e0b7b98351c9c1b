import InterruptSources
import LinuxSystem
import PCI
import SystemPackage
import TestSupport
import Testing
import VFIO

@testable import Passthrough

@Suite("Sessions")
struct SessionTests {
    private static let allSteps = SessionEndStep.allCases.map(\.rawValue)

    /// Memory as a client would send it.
    private func memory(_ pages: Int) throws -> MemoryFile { try ReceivedMemory.file(pages: pages) }

    @Test("a session describes its device, and hands it out as a descriptor that works")
    func describes() async throws {
        let host = try await LeaseFixture()
        defer { host.stop() }
        try await host.attach()
        let session = try await host.begin()
        let device = try await session.describe()
        #expect(device.address == host.nic && device.canReset)
        #expect(device.regions.map(\.index) == [0, 7] && device.regions.map(\.size) == [4096, 256])
        #expect(device.interrupts == InterruptCounts(legacy: 1, msi: 1, msix: 5))
        let handed = try await session.openDevice()
        _ = try host.kernel.file(of: handed.rawValue)
        #expect(await host.state()?.state == .inUse)
        #expect(await host.state()?.session == LeaseFixture.peer)
    }

    @Test("the seven steps come in order, undo all that a session did, and the device can be used again")
    func sevenSteps() async throws {
        let host = try await LeaseFixture()
        defer { host.stop() }
        try await host.attach()
        let session = try await host.begin()
        let file = try memory(4)
        try await session.map(DMARange(first: 0x10000, size: 0x4000), file, at: 0, writable: true, patience: nil)
        try await session.interrupts { (device) throws(InterruptError) in
            try device.switchTo(.msix, [InterruptConfiguration](repeating: InterruptConfiguration(), count: 5))
        }
        #expect(host.device.activeIndex == 2 && host.vfio.mappings.count == 1)
        await host.host.endSession(host.nic, .processEnded)
        #expect(host.steps == SessionTests.allSteps)
        #expect(host.device.activeIndex == nil && host.vfio.mappings.isEmpty && host.device.resetCount == 1)
        #expect(host.device.command & 4 == 0)
        #expect(try !VFIOGroup.isOpen(3, host.kernel))
        #expect(await host.state()?.state == .idle)
        guard case .ended(_, .processEnded) = await sessionFailure(of: { try await session.describe() }) else {
            Issue.record("a call after the end was carried out")
            return
        }
        _ = try await host.begin()
    }

    @Test(
        "a step that the kernel refuses stops none of those after it, and quarantines the device until Release",
        arguments: [
            ("pwrite", 0, "bus-master-off failed EIO"), ("pwrite", 1, "disable-intx failed EIO"),
            ("VFIO_DEVICE_SET_IRQS", 1, "disable-interrupts failed EIO"),
            ("VFIO_IOMMU_UNMAP_DMA", 0, "unmap failed EIO"),
            ("VFIO_DEVICE_RESET", 0, "reset failed EIO"),
        ])
    func refusedStep(call: String, skip: Int, expected: String) async throws {
        let host = try await LeaseFixture()
        defer { host.stop() }
        try await host.attach()
        let session = try await host.begin()
        let file = try memory(1)
        try await session.map(DMARange(first: 0, size: 4096), file, at: 0, writable: true, patience: nil)
        try await session.interrupts { (device) throws(InterruptError) in try device.switchTo(.msi) }
        let opened = try #require(session as? LeaseSession)
        // The owner makes it a bus master.
        try opened.opened?.device.setBusMaster(true)
        host.kernel.refuse(call, with: .ioError, after: skip)
        await host.host.endSession(host.nic, .connectionClosed)
        let step = try #require(expected.split(separator: " ").first.map(String.init))
        #expect(host.steps == SessionTests.allSteps.map { $0 == step ? expected : $0 })
        let state = try #require(await host.state())
        #expect(state.state == .quarantined)
        let reason = try #require(state.failure)
        #expect(reason.contains("process 77) did not end well: \(step): ") && reason.contains("EIO"))
        #expect(state.session == nil)
        // What was not unmapped went with the container.
        #expect(host.kernel.openFileCount == 0)
        #expect(host.vfio.mappings.isEmpty && host.device.activeIndex == nil)
        guard case .notReady(_, "quarantined", _) = await sessionFailure(of: { try await host.begin() }) else {
            Issue.record("a session of a quarantined device began")
            return
        }
        try await host.detach()
        #expect(host.codes(await failure { try await host.attach() }) == [.quarantined])
        try await host.host.release(host.nic)
        try await host.attach()
        _ = try await host.begin()
    }

    @Test(
        "another device in its place, one that does not answer, and one that is still a bus master fail the verification"
    )
    func verification() async throws {
        let change: [@Sendable (LeaseFixture) -> Void] = [
            {
                $0.fake.set(
                    "/sys/devices/pci0000:00/\($0.nic)/config", bytes: [1, 2, 3, 4] + [UInt8](repeating: 0, count: 252))
            },
            { $0.fake.set("/sys/devices/pci0000:00/\($0.nic)/config", bytes: [UInt8](repeating: 0xff, count: 256)) },
            { host in
                var config = FakeConfigSpace()
                config.setCommand(4)
                host.fake.set("/sys/devices/pci0000:00/\(host.nic)/config", bytes: config.bytes)
            },
        ]
        for change in change {
            let host = try await LeaseFixture()
            defer { host.stop() }
            try await host.attach()
            _ = try await host.begin()
            change(host)
            await host.host.endSession(host.nic, .connectionClosed)
            #expect(host.steps == SessionTests.allSteps.map { $0 == "verify" ? "verify failed" : $0 })
            #expect(await host.state()?.state == .quarantined)
        }
    }

    @Test("a step that hangs is late, those after it come all the same, and no other device waits")
    func stuckStep() async throws {
        let host = try await LeaseFixture()
        defer { host.stop() }
        try await host.attach()
        try await host.attach(host.apart)
        let session = try await host.begin()
        let file = try memory(1)
        try await session.map(DMARange(first: 0, size: 4096), file, at: 0, writable: true, patience: nil)
        let gate = try EventFD()
        host.kernel.forgetCalls()
        // The first call of the end is the first step's.
        host.kernel.beforeCall(0) { gate.wait() }
        let end = Task { await host.host.endSession(host.nic, .connectionClosed) }
        // Another device is used meanwhile.
        while await host.state()?.state != .ending { await Task.yield() }
        while host.kernel.calls.isEmpty && host.steps.isEmpty {
            host.clock.advance(by: .seconds(2))
            try await Task.sleep(for: .milliseconds(1))
        }
        _ = try await host.begin(host.apart).describe()
        await host.advance { await host.state()?.state == .quarantined }
        await end.value
        #expect(host.steps.first == "bus-master-off failed" && host.steps.last == "release failed")
        #expect(host.steps.map { $0.split(separator: " ").first.map(String.init) } == SessionTests.allSteps)
        // A step that is late for want of a processor comes all the same.
        while !host.vfio.mappings.isEmpty { try await Task.sleep(for: .milliseconds(1)) }
        try gate.signal()
        while try VFIOGroup.isOpen(3, host.kernel) { try await Task.sleep(for: .milliseconds(1)) }
    }

    @Test("the host asks for the device back, or the device reports an error: the session ends, the lease stays")
    func deviceTells() async throws {
        let host = try await LeaseFixture()
        defer { host.stop() }
        try await host.attach()
        for (tell, reason) in [(host.device.askBack, "device-asked-back"), (host.device.reportError, "device-error")] {
            _ = try await host.begin()
            #expect(tell())
            while await host.state()?.state != .idle { try await Task.sleep(for: .milliseconds(1)) }
            #expect(host.log.all.contains { $0.contains("event=session-end") && $0.contains("reason=\(reason)") })
        }
        #expect(host.steps == SessionTests.allSteps + SessionTests.allSteps)
    }

    @Test("a device whose descriptor somebody keeps is held, by name, and begins no session until that ends")
    func heldAfterwards() async throws {
        let host = try await LeaseFixture()
        defer { host.stop() }
        try await host.attach()
        var kept: SharedDescriptor? = try await host.begin().openDevice()
        host.fake.addProcess(99, command: "keeper", open: ["anon_inode:[vfio-device]"])
        await host.host.endSession(host.nic, .processEnded)
        let state = try #require(await host.state())
        #expect(state.state == .held && state.holders.map(\.processID) == [99])
        #expect(host.log.all.contains { $0.contains("event=device-held") && $0.contains("holders=99") })
        guard case .notReady(_, "held", let message) = await sessionFailure(of: { try await host.begin() }) else {
            Issue.record("a session of a held device began")
            return
        }
        #expect(message.contains("process 99 (keeper)"))
        // Detach takes it from its owner; nobody gets it.
        try await host.detach()
        #expect(host.codes(await failure { try await host.attach() }) == [.held])
        withExtendedLifetime(kept) {}
        kept = nil
        try await host.attach()
        #expect(await host.state()?.state == .idle)
        _ = try await host.begin()
    }

    @Test("two devices of one lease share one address space: what both map alike is mapped once")
    func sharedMemory() async throws {
        let host = try await LeaseFixture()
        defer { host.stop() }
        try await host.attach()
        try await host.attach(host.other)
        let (first, second) = (try await host.begin(), try await host.begin(host.other))
        let file = try memory(2)
        let range = try DMARange(first: 0x1000, size: 0x2000)
        try await first.map(range, file, at: 0, writable: true, patience: nil)
        try await second.map(range, file, at: 0, writable: true, patience: nil)
        #expect(host.vfio.mappings.count == 1)
        #expect(await host.host.leases().map(\.mappings) == [1])
        await host.host.endSession(host.nic, .connectionClosed)
        #expect(host.vfio.mappings.count == 1)
        try await second.unmap(range)
        #expect(host.vfio.mappings.isEmpty)
        await host.host.endSession(host.other, .connectionClosed)
        #expect(try !VFIOGroup.isOpen(3, host.kernel))
    }

    @Test("ranges and memory that cannot be are refused by name, and nothing is mapped")
    func badRanges() async throws {
        let host = try await LeaseFixture()
        defer { host.stop() }
        host.fake.set("/sys/kernel/iommu_groups/3/reserved_regions", "0xfee00000 0xfeefffff msi\n")
        try await host.attach()
        let session = try await host.begin()
        let file = try memory(4)
        func fault(_ first: UInt64, _ size: UInt64, at offset: UInt64 = 0) async -> DMARange.Fault? {
            let error = await sessionFailure {
                try await session.map(
                    DMARange(first: first, size: size), file, at: offset, writable: true, patience: nil)
            }
            guard case .badRange(let fault) = error else { return nil }
            return fault
        }
        #expect(await fault(0, 0) == .empty)
        #expect(await fault(1, 4096) == .unaligned)
        #expect(await fault(0, 4095) == .unaligned)
        #expect(await fault(0, 4096, at: 1) == .unaligned)
        #expect(await fault(UInt64.max - 4095, 8192) == .overflow)
        let reserved = DMARange.Fault.reserved(first: 0xfee0_0000, last: 0xfeef_ffff, kind: "msi")
        #expect(await fault(0xfeef_f000, 8192) == reserved)
        try await session.map(DMARange(first: 0x4000, size: 0x4000), file, at: 0, writable: true, patience: nil)
        #expect(await fault(0x7000, 4096) == .overlaps)
        #expect(await fault(0x4000, 0x4000) == .overlaps)
        for (size, offset) in [(UInt64(0x5000), UInt64(0)), (4096, 0x4000), (4096, UInt64.max - 4095)] {
            guard
                case .badMemory = await sessionFailure(of: {
                    try await session.map(
                        DMARange(first: 0x10_0000, size: size), file, at: offset, writable: true, patience: nil)
                })
            else {
                Issue.record("mapped \(size) bytes at \(offset) of 16384")
                continue
            }
        }
        guard
            case .badRange(.notMapped) = await sessionFailure(of: {
                try await session.unmap(DMARange(first: 0x4000, size: 4096))
            })
        else {
            Issue.record("a mapping was cut")
            return
        }
        #expect(host.vfio.mappings.map(\.iova) == [0x4000])
    }

    @Test("only memory is taken as memory, and only eventfds as notifiers")
    func kinds() throws {
        let pipe = try UnixSocket.pair(.stream)
        let plain = try openFile("/proc/self/exe", .readOnly)
        let eventfd = try EventFD()
        let memory = try SharedMemory(name: "guest", length: 4096)
        let sent = try ReceivedMemory.descriptors([
            pipe.first.rawValue, plain.rawValue, eventfd.rawValue, memory.descriptor.rawValue,
        ])
        for index in 0..<3 { #expect(throws: KernelError.self) { try sent.memory(at: index) } }
        #expect(try sent.memory(at: 3).size() == 4096)
        for index in [0, 1, 3, 4] { #expect(throws: KernelError.self) { try sent.eventFD(at: index) } }
        try sent.eventFD(at: 2).signal()
        #expect(eventfd.drain() == 1)
    }
}
