internal import ArgumentParser
internal import Varlink
internal import VfiodAPI

struct MonitorVerb: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "monitor", abstract: "Show the devices as they are, and then every change as it happens.",
        discussion: """
            One line per event: first a line for each device and one that says that those were all; then devices that \
            come, change and go, operations with their steps, and siblings that come to a host driver beside a bound \
            device. It ends with Ctrl-C. With --json, each line is one event as it goes over the wire.

              vfioctl monitor
              vfioctl monitor --json | jq --unbuffered -r 'select(.event.kind == "operation-ended").event.address'
            """)

    @OptionGroup var common: CommonOptions

    func run() throws {
        try common.follow(Monitor.self, NoParameters()) { MonitorVerb.line($0.event) }
    }

    static func line(_ event: Wire.Event) -> String {
        guard let address = event.address else { return "\(event.kind)" }
        let parts = [event.device.map { device($0, event) }, event.operation.map(operation)] + drift(event)
        let text = (parts + [event.failure.map { "failed: \($0)" }]).compactMap(\.self).joined(separator: "; ")
        return "\(padded(event.kind, 16))\(address)" + (text.isEmpty ? "" : "  \(text)")
    }

    private static func device(_ device: Wire.Device, _ event: Wire.Event) -> String {
        [
            device.state, device.driver.map { "driver \($0)" } ?? "no driver",
            device.iommuGroup.map { "IOMMU group \($0)" }, event.virtualFunctions.map { "\($0) virtual functions" },
            device.configuredName.map { "called \($0)" }, device.name,
        ].compactMap(\.self).joined(separator: ", ")
    }

    private static func operation(_ operation: Wire.Operation) -> String {
        "\(operation.name) at \(operation.step)" + (operation.note.map { ": \($0)" } ?? "")
    }

    private static func drift(_ event: Wire.Event) -> [String?] {
        (event.drift ?? []).map { event.device == nil ? $0.message : "drift: \($0.message)" }
    }
}
