internal import LinuxSystem
public import PCI

/// What of a device changes without an event, as it is now.
public struct LiveState: Hashable, Sendable {
    /// What has to be waited for where the device or its lock is busy.
    public enum Part: String, Sendable, CaseIterable {
        /// The configuration space: its reader waits for a reset to end.
        case config
        /// The link: as the configuration space, on newer kernels.
        case link
        /// driver_override: its reader waits for the device lock, which a probe, an unbind or a reset holds.
        case driverOverride = "driver_override"
    }

    /// The content of driver_override, nil if empty.
    public var driverOverride: String?
    /// power/control: `auto` or `on`.
    public var powerControl: String?
    /// power_state: `D0`, `D3hot`, `D3cold`, `unknown` and the like.
    public var powerState: String?
    /// The link above it, nil if it is none of PCI Express.
    public var link: PCILink?
    /// Its command register, nil if the device does not answer.
    public var command: ConfigSpace.Command?
    /// What did not come in time: not known, rather than not there.
    public var unread: Set<Part>

    /// Creates a state, of which nothing is known unless given.
    public init(
        driverOverride: String? = nil, powerControl: String? = nil, powerState: String? = nil, link: PCILink? = nil,
        command: ConfigSpace.Command? = nil, unread: Set<Part> = Set(Part.allCases)
    ) {
        self.driverOverride = driverOverride
        self.powerControl = powerControl
        self.powerState = powerState
        self.link = link
        self.command = command
        self.unread = unread
    }
}

/// A reading of what may wait for the device. It fills in as it goes, so that who does not wait for its end still gets
/// what has come.
final class LiveReading: Sendable {
    let end = Eventual<Void>()
    private let parts: Set<LiveState.Part>
    private let values = Lock((state: LiveState(), configuration: DeviceConfiguration?.none))

    init(_ parts: Set<LiveState.Part>) { self.parts = parts }

    var state: LiveState { values.withLock { $0.state } }
    var configuration: DeviceConfiguration? { values.withLock { $0.configuration } }

    /// Reads, on a thread that may wait for as long as it takes.
    func run(_ address: PCIAddress, _ sysfs: Sysfs, _ writer: any SysfsWriting) {
        for part in LiveState.Part.allCases where parts.contains(part) {
            switch part {
            case .config:
                let config = sysfs.configSpace(of: address)
                values.withLock { values in
                    values.configuration = DeviceConfiguration(config)
                    values.state.command = config.command
                }
            case .link:
                let link = sysfs.link(of: address)
                values.withLock { $0.state.link = link }
            case .driverOverride:
                let text = (try? writer.read(sysfs.path(of: address, "driver_override"))) ?? ""
                let value = DriverTransition.overrideValue(text)
                values.withLock { $0.state.driverOverride = value == "\n" ? nil : value }
            }
            values.withLock { _ = $0.state.unread.remove(part) }
        }
    }
}
