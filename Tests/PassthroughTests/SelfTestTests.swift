import InterruptSources
import LinuxSystem
import PCI
import SelfTestProtocol
import TestSupport
import Testing
import VFIO
import VFIOInterrupts

@testable import Passthrough

/// A guest that counts by reading the eventfds it was joined to, with the same faults as the real one.
private final class CountingGuest: SelfTestGuestPort {
    struct State {
        var notifiers: [EventFD] = []
        var counts: [UInt32]
        var resample: EventFD?
        var windows = 0
        var ended = false
    }
    let fault: GuestFault?
    let slots: Int
    let state: Lock<State>

    init(slots: Int, fault: GuestFault?) {
        self.slots = slots
        self.fault = fault
        state = Lock(State(counts: [UInt32](repeating: 0, count: slots)))
    }

    func connect(_ notifiers: [EventFD]) throws(GuestProtocolError) {
        guard notifiers.count <= slots else { throw .malformed("\(notifiers.count) notifiers for \(slots) slots") }
        state.withLock {
            $0.notifiers = notifiers
            $0.windows += 1
        }
    }

    func connectLevel(trigger: EventFD, resample: EventFD) {
        state.withLock { ($0.notifiers, $0.resample, $0.windows) = ([trigger], resample, 1) }
    }

    func disconnect(count: Int) { state.withLock { $0.notifiers = [] } }

    func count(_ slot: Int) -> UInt32 {
        state.withLock { state in
            for (index, notifier) in state.notifiers.enumerated() where notifier.isSignalled {
                if fault == .stopVCPU || fault == .dropIRQFD && index == slots - 1 { continue }
                notifier.drain()
                let target =
                    fault == .swapRoutes && index < 2 ? 1 - index : fault == .shareVector && index == 1 ? 0 : index
                state.counts[target] &+= 1
            }
            return state.counts[slot]
        }
    }

    func strays() -> Int { 0 }
    func exceptions() -> Int { 0 }
    func acknowledge(_ count: UInt32) { state.withLock { _ = try? $0.resample?.signal() } }
    func completed() -> UInt32 { state.withLock { $0.counts[0] } }
    func end() { state.withLock { $0.ended = true } }
}

private final class CountingGuests: SelfTestGuestLauncher {
    let launched = Lock<[CountingGuest]>([])

    func launch(
        _ delivery: GuestDelivery, slots: Int, fault: GuestFault?
    ) throws(GuestProtocolError) -> any SelfTestGuestPort {
        let guest = CountingGuest(slots: slots, fault: fault)
        launched.withLock { $0.append(guest) }
        return guest
    }
}

@Suite("Self-test of a device")
struct SelfTestTests {
    private let guests = CountingGuests()

    /// A self-test of a fake device. `hostVectors` is what the host has to give away.
    private func selfTest(
        intx: UInt32 = 0, msi: UInt32 = 0, msix: UInt32 = 0, hostVectors: Int = 1000, window: Int = 256,
        deliveryMilliseconds: Int = 2000, told: @escaping () -> VFIODeviceEvent? = { nil }
    ) throws -> (test: SelfTest, vfio: FakeVFIO) {
        let kernel = FakeKernel()
        let vfio = FakeVFIO(hostVectors: hostVectors)
        let configuration = FakeVFIODevice.Configuration(intxCount: intx, msiCount: msi, msixCount: msix)
        vfio.add(FakeVFIODevice("0000:00:10.0", configuration), iommuGroup: 7)
        kernel.install(vfio, at: "/dev/vfio/")
        let device = try VFIODevice.open(
            try #require(PCIAddress("0000:00:10.0")), iommuGroup: 7, kernel: kernel)
        let limits = SelfTestLimits(window: window, deliveryMilliseconds: deliveryMilliseconds)
        let test = SelfTest(
            device: device, interrupts: try DeviceInterrupts(VFIOInterrupts(device).sources(), sink: nil),
            testDevice: nil, guests: guests, limits: limits, progress: { _ in }, told: told)
        return (test, vfio)
    }

    private func request(
        _ types: [InterruptType] = InterruptType.allCases, vectors: Int? = nil, count: Int = 3,
        fault: SelfTestRequest.Fault? = nil
    ) -> SelfTestRequest {
        SelfTestRequest(types: types, vectors: vectors, count: count, fault: fault)
    }

    @Test("every type that the device has is raised on every vector and passes; the guests end")
    func allTypes() throws {
        let (test, vfio) = try selfTest(intx: 1, msi: 16, msix: 5)
        let reports = try test.run(request())
        #expect(reports.map(\.type) == [.legacy, .msi, .msix])
        #expect(reports.map(\.fired) == [3, 48, 15])
        #expect(reports.allSatisfy { $0.passed && $0.latencyMaximum > 0 })
        #expect(guests.launched.withLock { $0.allSatisfy { $0.state.withLock(\.ended) } })
        #expect(vfio.hostVectors == 1000)
    }

    @Test("a table larger than the window is walked to its last vector, and the report says so")
    func windows() throws {
        let (test, vfio) = try selfTest(msix: 100, window: 32)
        let report = try #require(try test.run(request([.msix], count: 1)).first)
        #expect((report.tested, report.delivered, report.passed) == (100, 100, true))
        #expect(report.notes == ["walked in 4 windows of up to 32 vectors"])
        #expect(guests.launched.withLock { $0.map { $0.state.withLock(\.windows) } } == [4])
        #expect(vfio.hostVectors == 1000)
    }

    @Test("a host with fewer vectors than a window makes the windows smaller, and every vector is still tested")
    func scarceHost() throws {
        let (test, _) = try selfTest(msix: 64, hostVectors: 10, window: 32)
        let report = try #require(try test.run(request([.msix], count: 2)).first)
        #expect((report.tested, report.delivered, report.passed) == (64, 128, true))
        #expect(report.notes.contains { $0.contains("room for 10 more") })
    }

    @Test("fewer vectors than asked for are all tested, and the report says so; fewer are tested where asked")
    func vectorCounts() throws {
        let (test, _) = try selfTest(msix: 5)
        let all = try #require(try test.run(request([.msix], vectors: 9, count: 1)).first)
        #expect(all.tested == 5)
        #expect(all.notes == ["asked for 9 vectors, the device has 5"])
        let some = try #require(try test.run(request([.msix], vectors: 2, count: 1)).first)
        #expect((some.tested, some.fired, some.vectors) == (2, 2, 5))
    }

    @Test("swapped routes are lost on one vector and spurious on the other, both named")
    func swapped() throws {
        let (test, _) = try selfTest(msix: 5, deliveryMilliseconds: 20)
        let report = try #require(try test.run(request([.msix], fault: .swapRoutes)).first)
        #expect(!report.passed)
        #expect(report.lostVectors == [0, 1])
        #expect(report.spuriousVectors == [0, 1])
    }

    @Test("a vector without irqfd is lost and named, the others are delivered")
    func dropped() throws {
        let (test, _) = try selfTest(msix: 5, deliveryMilliseconds: 20)
        let report = try #require(try test.run(request([.msix], count: 4, fault: .dropIRQFD)).first)
        #expect(report.lostVectors == [4])
        #expect((report.delivered, report.lost, report.spurious) == (16, 2, 0))
        #expect(report.notes == ["a vector that lost 2 was not raised again"])
    }

    @Test("two vectors on one guest vector are noticed")
    func shared() throws {
        let (test, _) = try selfTest(msix: 5, deliveryMilliseconds: 20)
        let report = try #require(try test.run(request([.msix], fault: .shareVector)).first)
        #expect(report.lostVectors == [1])
        #expect(report.spuriousVectors == [0])
    }

    @Test("a stopped guest ends the test early, and that is no pass")
    func stopped() throws {
        let (test, _) = try selfTest(msix: 100, deliveryMilliseconds: 5)
        let report = try #require(try test.run(request([.msix], fault: .stopVCPU)).first)
        #expect(!report.passed)
        #expect((report.fired, report.lost, report.delivered) == (8, 8, 0))
        #expect(report.notes.contains("stopped after 8 raises in a row were lost"))
    }

    @Test(
        "what the device tells of ends the test early and by name, also while it waits, and nothing stays wired",
        arguments: VFIODeviceEvent.allCases, [SelfTestRequest.Fault.stopVCPU, nil])
    func toldEarly(_ event: VFIODeviceEvent, fault: SelfTestRequest.Fault?) throws {
        var asked = 0
        let (test, vfio) = try selfTest(intx: 1, msix: 100, window: 32, deliveryMilliseconds: 60_000) {
            asked += 1
            return asked > 40 ? event : nil
        }
        let failure = #expect(throws: SelfTestFailure.self) { try test.run(request(count: 1_000_000, fault: fault)) }
        guard case .told(event) = failure?.cause else {
            Issue.record("\(String(describing: failure))")
            return
        }
        #expect(asked < 60)
        #expect(guests.launched.withLock { $0.allSatisfy { $0.state.withLock(\.ended) } })
        #expect(vfio.hostVectors == 1000)
    }

    @Test("a test that fails after the device told of something fails because of it")
    func toldBeforeFailure() throws {
        let (test, _) = try selfTest(msix: 5, hostVectors: 0) { .error }
        let failure = #expect(throws: SelfTestFailure.self) { try test.run(request([.msix])) }
        guard case .told(.error) = failure?.cause else {
            Issue.record("\(String(describing: failure))")
            return
        }
    }

    @Test("a fault that needs two vectors is not injected silently into one")
    func faultOnOneVector() throws {
        let (test, _) = try selfTest(intx: 1)
        let report = try #require(try test.run(request([.legacy], fault: .swapRoutes)).first)
        #expect(report.notes == ["the fault swap-routes needs two vectors: none was injected"])
    }

    @Test("a device without interrupts of the asked-for type is a named failure")
    func nothingToTest() throws {
        let (test, _) = try selfTest(msix: 5)
        #expect(throws: SelfTestFailure.self) { try test.run(request([.msi])) }
    }

    @Test("a host without a single vector left is a named failure with the errno's hint, and nothing stays wired")
    func exhaustedHost() throws {
        let (test, vfio) = try selfTest(msix: 5, hostVectors: 0)
        #expect(throws: SelfTestFailure.self) { try test.run(request([.msix])) }
        #expect(vfio.hostVectors == 0)
    }
}
