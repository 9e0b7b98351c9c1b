internal import PCI
internal import Passthrough
internal import Varlink
internal import VfiodAPI

extension VarlinkMethod {
    /// io.vfiod.Monitor.
    static func monitor(_ host: any DeviceOperations) -> VarlinkMethod {
        .stream { (_: Monitor.Parameters, replies: VarlinkStream<Monitor.Reply>) in
            let stopping = Wire.MonitorEnded(reason: "stopping").varlinkError
            let feed: DeviceFeed
            do throws(PassthroughError) {
                feed = try await host.follow()
            } catch {
                return VarlinkError(error)
            }
            for device in feed.devices {
                guard await replies.send(Monitor.Reply(event: Wire.Event(device))) else { return stopping }
            }
            guard await replies.send(Monitor.Reply(event: Wire.Event(kind: "complete"))) else { return stopping }
            for await event in feed.events {
                guard await replies.send(Monitor.Reply(event: Wire.Event(event))) else { return stopping }
            }
            return Task.isCancelled ? stopping : Wire.MonitorEnded(reason: "events-lost").varlinkError
        }
    }
}

extension Wire.Event {
    init(_ status: DeviceStatus) {
        self.init(kind: "device", address: status.summary.address.description)
        enter(status)
    }

    init(_ event: DeviceEvent) {
        self.init(kind: event.kind.rawValue, address: event.address.description)
        if let status = event.status { enter(status) }
        if let state = event.operation { operation = Wire.Operation(state) }
        failure = event.failure?.clause
        if let blocker = event.drift { drift = [Wire.Blocker(blocker)] }
    }

    private mutating func enter(_ status: DeviceStatus) {
        device = Wire.Device(status.summary)
        virtualFunctions = status.virtualFunctions
        operation = status.operation.map(Wire.Operation.init)
        drift = status.drift.map(Wire.Blocker.init)
    }
}
