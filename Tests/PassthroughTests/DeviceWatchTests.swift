import LinuxSystem
import PCI
import SystemPackage
import TestSupport
import Testing
import VFIO
import VFIOInterrupts

@testable import Passthrough

@Suite("What an open device tells of")
struct DeviceWatchTests {
    private let kernel = FakeKernel()
    private let fake: FakeVFIODevice
    private let interrupts: VFIOInterrupts
    private let loop: EventLoop
    private let seen: Events

    /// What a handler was called with, in order.
    private final class Events: Sendable {
        private let events = Lock<[VFIODeviceEvent]>([])
        private let more: EventFD

        init() throws { more = try EventFD() }

        func add(_ event: VFIODeviceEvent) {
            events.withLock { $0.append(event) }
            try? more.signal()
        }

        /// Waits until `count` have come.
        func first(_ count: Int) -> [VFIODeviceEvent] {
            while true {
                let all = events.withLock { $0 }
                if all.count >= count { return all }
                more.wait()
            }
        }
    }

    init() throws {
        let vfio = FakeVFIO()
        fake = FakeVFIODevice("0000:00:10.0", .init(intxCount: 1))
        vfio.add(fake, iommuGroup: 7)
        kernel.install(vfio, at: "/dev/vfio/")
        let address = try #require(PCIAddress("0000:00:10.0"))
        interrupts = VFIOInterrupts(try VFIODevice.open(address, iommuGroup: 7, kernel: kernel))
        loop = try EventLoop(name: "test-loop")
        seen = try Events()
    }

    @Test("each event reaches the handler on the loop, as often as it comes; what came first is kept")
    func told() throws {
        defer { loop.stop() }
        let watch = try DeviceWatch(interrupts, on: loop) { [seen, loop] event in
            #expect(loop.isCurrent)
            seen.add(event)
        }
        #expect(watch.first == nil)
        #expect(fake.askBack())
        #expect(seen.first(1) == [.request])
        #expect(fake.reportError())
        #expect(seen.first(2) == [.request, .error])
        #expect(fake.askBack())
        #expect(seen.first(3) == [.request, .error, .request])
        #expect(watch.first == .request)
        watch.end()
        watch.end()
        #expect(!fake.askBack() && !fake.reportError())
    }

    @Test("a watch that nobody keeps ends, and one whose setting up fails leaves nothing joined")
    func ends() throws {
        defer { loop.stop() }
        _ = try DeviceWatch(interrupts, on: loop) { _ in }
        #expect(!fake.askBack())
        kernel.refuse("VFIO_DEVICE_SET_IRQS", with: .noMemory, after: 1)
        #expect(throws: (any Error).self) { try DeviceWatch(interrupts, on: loop) { _ in } }
        #expect(!fake.askBack() && !fake.reportError())
    }
}
