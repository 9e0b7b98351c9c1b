import PCI
import Passthrough
import Testing
import Varlink
import VfiodAPI

@Suite("Monitor over the wire")
struct MonitorTests {
    @Test("the devices as they are come first, then a mark, then each event with its parts, then why it ends")
    func stream() async throws {
        try await RunningDaemon.with { daemon in
            let edu = try #require(PCIAddress("0000:00:10.0"))
            let received = Received()
            async let ended: VarlinkError? = daemon.follow(received)
            while received.all.count < 3 { await Task.yield() }
            let state = OperationState(name: "bind", step: "unbind", since: 7, note: nil)
            let summary = try #require(try await daemon.devices.list().first)
            await daemon.devices.tell(DeviceEvent(.operationStep, edu, operation: state))
            await daemon.devices.tell(
                DeviceEvent(
                    .operationEnded, edu,
                    status: DeviceStatus(summary: summary, virtualFunctions: 2, drift: [InMemoryDevices.blocker]),
                    operation: state, failure: .deviceFailed(edu, operation: "bind")))
            await daemon.devices.tell(DeviceEvent(.driftBegun, edu, drift: InMemoryDevices.blocker))
            await daemon.devices.tell(nil)
            let error = try #require(try await ended)
            #expect(Wire.MonitorEnded(error) == Wire.MonitorEnded(reason: "events-lost"))
            let events = received.all
            #expect(
                events.map(\.kind)
                    == ["device", "device", "complete", "operation-step", "operation-ended", "drift-begun"])
            #expect(
                events.map(\.address) == ["0000:00:10.0", "0000:00:11.0", nil] + Array(repeating: "\(edu)", count: 3))
            #expect(events[0].device?.state == "available" && events[0].drift == [])
            #expect(events[3].operation == Wire.Operation(name: "bind", step: "unbind", since: 7, note: nil))
            #expect(events[3].device == nil && events[3].drift == nil)
            #expect(events[4].virtualFunctions == 2 && events[4].drift?.count == 1)
            #expect(events[4].failure == "ended early: the device reported an uncorrectable error")
            #expect(events[5].drift?.first?.code == "network-address" && events[5].device == nil)
        }
    }

    @Test("without more it is refused with varlink's own error")
    func withoutMore() async throws {
        try await RunningDaemon.with { daemon in
            let error = try await daemon.refusal(of: Monitor.self, NoParameters())
            #expect(error?.name == "org.varlink.service.ExpectedMore")
        }
    }

    @Test("a daemon that stops says so to those who follow, and does not wait for them")
    func stopping() async throws {
        let received = Received()
        let ended = try await RunningDaemon.with { daemon in
            let task = Task { try await daemon.follow(received) }
            while received.all.count < 3 { await Task.yield() }
            return task
        }
        let error = try #require(try await ended.value)
        #expect(Wire.MonitorEnded(error) == Wire.MonitorEnded(reason: "stopping"))
    }
}
